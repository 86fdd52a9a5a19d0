//! temporary
use clap::Parser;
#[derive(Parser)]
struct A {
    #[command(subcommand)]
    c: C,
}
#[derive(clap::Subcommand)]
enum C {
    Serve(portbook::config::ServeArgs),
}
#[tokio::main]
async fn main() {
    let C::Serve(a) = A::parse().c;
    if let Err(e) = portbook::server::serve(a).await {
        let mut e: &dyn std::error::Error = &e;
        eprint!("portbook: {e}");
        while let Some(s) = e.source() {
            eprint!(": {s}");
            e = s;
        }
        eprintln!();
        std::process::exit(5);
    }
}
