//! The `stationmaster` binary: everything is in [`stationmaster::cli`].

fn main() -> std::process::ExitCode {
    stationmaster::cli::main()
}
