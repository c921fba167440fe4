//! Bookinfo, the well-known sample of four small web services, as one program: each service is a subcommand, and so
//! are the small clients and the echo server with which the demo and the tests look at a mesh from inside a pod.
//!
//! Nothing here knows of the mesh. The program is an ordinary application that happens to say, in every answer, which
//! version and which pod gave it.

mod cli;
mod client;
mod details;
mod echo;
mod forward;
mod get;
mod health;
mod instance;
mod load;
mod productpage;
mod ratings;
mod reply;
mod reviews;
mod serve;
mod tcp;
mod udp;
mod upstream;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use axum::Router;
use clap::Parser;

use crate::cli::{Cli, Command, ServeArgs};
use crate::instance::{Instance, Service};
use crate::upstream::Dependency;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    let outcome = runtime.block_on(run(command));
    // A name look-up that is still running in a blocking thread must not hold the exit up.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("bookinfo: {message}");
    ExitCode::FAILURE
}

/// Runs one subcommand to its end; the error is the message for the person who ran it.
async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Productpage { serve, details_url, reviews_url, ratings_url } => {
            let details = cli::dependency(Dependency::Details, details_url)?;
            let reviews = cli::dependency(Dependency::Reviews, reviews_url)?;
            let ratings = cli::dependency(Dependency::Ratings, ratings_url)?;
            run_http(Service::Productpage, serve, |instance| {
                productpage::router(instance, &details, &reviews, &ratings)
            })
            .await
        }
        Command::Details { serve } => run_http(Service::Details, serve, |_| details::router()).await,
        Command::Reviews { serve, ratings_url } => {
            let ratings = cli::dependency(Dependency::Ratings, ratings_url)?;
            run_http(Service::Reviews, serve, |instance| reviews::router(instance, &ratings)).await
        }
        Command::Ratings { serve } => run_http(Service::Ratings, serve, |_| ratings::router()).await,
        Command::Echo { serve, udp: true, .. } => {
            let instance = Instance::of_process(Service::Echo, serve.version);
            let socket = serve::bind_udp(serve.listen, serve.port).map_err(|error| error.to_string())?;
            listening(&instance, socket.local_addr())?;
            udp::echo(socket, instance, serve::terminated()?).await;
            Ok(())
        }
        Command::Echo { serve, tcp: false, .. } => run_http(Service::Echo, serve, echo::router).await,
        Command::Echo { serve, tcp: true, .. } => {
            let listener = bind(&serve, &Instance::of_process(Service::Echo, serve.version))?;
            serve::accept(listener, serve::terminated()?, echo::tcp_connection).await;
            Ok(())
        }
        Command::Get(args) => get::run(&args).await,
        Command::Load(args) => load::run(&args).await,
        Command::Tcp(args) => tcp::run(&args).await,
        Command::Udp(args) => udp::run(&args).await,
    }
}

async fn run_http(
    service: Service,
    args: ServeArgs,
    router: impl FnOnce(&Instance) -> Router,
) -> Result<(), String> {
    let instance = Instance::of_process(service, args.version);
    let app = instance.sign(router(&instance).merge(health::router()), args.delay());
    let listener = bind(&args, &instance)?;
    let stop = serve::terminated()?;
    serve::http(listener, stop, app).await;
    serve::log("stopped", &[("service", instance.name())]);
    Ok(())
}

fn bind(args: &ServeArgs, instance: &Instance) -> Result<tokio::net::TcpListener, String> {
    let listener = serve::bind(args.listen, args.port).map_err(|error| error.to_string())?;
    listening(instance, listener.local_addr())?;
    Ok(listener)
}

fn listening(instance: &Instance, address: std::io::Result<std::net::SocketAddr>) -> Result<(), String> {
    let address = address.map_err(|error| format!("cannot read the listening address: {error}"))?;
    serve::log(
        "listening",
        &[("service", instance.name()), ("pod", instance.pod()), ("address", &address.to_string())],
    );
    Ok(())
}
