// What holds a pod's namespaces: waits, reaps the orphans of a pod that shares its process namespace, and ends when asked.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void quit(int number) { _exit(0); }

static void reap(int number) {
    while (waitpid(-1, 0, WNOHANG) > 0) {
    }
}

int main(void) {
    signal(SIGINT, quit);
    signal(SIGTERM, quit);
    signal(SIGCHLD, reap);
    for (;;)
        pause();
}
