//! The program that a container runtime starts for each action on a pod's network.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use mesh_cni::plugin::{Environment, run};

fn main() -> ExitCode {
    let mut input = String::new();
    let read = io::stdin().lock().take(mesh_cni::plugin::MAX_INPUT).read_to_string(&mut input);
    let outcome = run(&Environment::from_process(), read.map(|_| input.as_str()));
    for line in &outcome.log {
        let _ = writeln!(io::stderr(), "{}: {line}", mesh_cni::PLUGIN);
    }
    let written = io::stdout().write_all(outcome.output.as_bytes());
    if outcome.succeeded && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
