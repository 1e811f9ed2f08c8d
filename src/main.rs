//! The `stationmaster` binary: everything is in [`stationmaster::cli`].

/// Here and not in the library: memory is the process's affair.
#[global_allocator]
static ALLOCATOR: stationmaster_system::memory::ZeroingAllocator = stationmaster_system::memory::ZeroingAllocator;

fn main() -> std::process::ExitCode {
    // Before anything that asks OpenSSL for something.
    stationmaster_system::memory::clear_in_openssl();
    stationmaster::cli::main()
}
