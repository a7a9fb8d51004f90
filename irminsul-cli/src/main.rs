//! The command `irminsul`, with the engines that are compiled in.

fn main() -> std::process::ExitCode {
    irminsul_cli::run(irminsul::Registry::default())
}
