//! What the person sees while it runs.

use std::io::Write;
use std::thread;

use crate::lab::teardown;

#[derive(Clone, Copy, Debug)]
pub struct Show;

impl Show {
    pub fn line(self, text: &str) {
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

    pub fn heading(self, text: &str) {
        self.line(&format!("\n{text}"));
    }

    pub fn progress(self, text: &str) {
        if !text.is_empty() {
            self.line(&format!("    {text}"));
        }
    }

    #[allow(clippy::print_stderr, reason = "the last word of a program that failed")]
    pub fn failure(self, program: &str, text: &str) {
        self.line("");
        eprintln!("{program}: {text}");
    }
}
