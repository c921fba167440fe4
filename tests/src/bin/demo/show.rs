//! What the person sees while it runs.

use std::io::Write;
use std::thread;

use weir_tests::lab::teardown;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Show;

impl Show {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn line(self, text: &str) {
        if teardown::is_interrupted() {
            // Whatever fails now fails because the lab is being taken away; the process ends when that is done.
            loop {
                thread::park();
            }
        }
        let mut out = std::io::stdout().lock();
        // Where nobody reads, the report and the exit status still tell.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    pub(crate) fn heading(self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    pub(crate) fn progress(self, text: &str) {
        if !text.is_empty() {
            self.line(&format!("    {text}"));
        }
    }

    #[allow(clippy::print_stderr, reason = "the last word of a program that failed")]
    pub(crate) fn failure(self, text: &str) {
        self.line("");
        eprintln!("demo: {text}");
    }
}
