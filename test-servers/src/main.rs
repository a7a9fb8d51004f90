//! Serves an object store for as long as it runs, and shares it with the tests.

use std::{
    env,
    io::{self, Read},
    process::ExitCode,
};

use test_servers::{Kind, Shared};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-servers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(kind), None) = (arguments.next(), arguments.next()) else {
        return Err(format!("name one server: {}", Kind::ALL.map(Kind::name).join(", ")).into());
    };
    let server = Shared::get(kind.parse()?)?;
    let endpoint = server.endpoint();
    println!("# It serves until this program is interrupted, or its standard input ends.");
    for (name, value) in endpoint.credentials() {
        println!("export {name}='{value}'");
    }
    println!("export STORE='{}'", endpoint.address("test"));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
