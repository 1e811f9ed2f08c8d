//! The fuzzer: every target in one binary, so that it is linked once. `scripts/fuzz.sh` says how it is built and run.
//!
//!     stationmaster-fuzz list           the targets' names
//!     stationmaster-fuzz seeds FOLDER   writes every target's seeds below FOLDER
//!     stationmaster-fuzz NAME …         runs a target; what follows is libFuzzer's

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    unreachable_pub,
    missing_docs,
    reason = "fuzzing end where something is wrong"
)]

mod memory;
mod parsers;

use std::{
    ffi::{CString, c_char, c_int},
    fs,
    path::Path,
    process::ExitCode,
    sync::OnceLock,
};

use parsers::{TARGETS, Target, random::Random};

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

static TARGET: OnceLock<&Target> = OnceLock::new();

fn target() -> &'static Target {
    TARGET.get().expect("set before the fuzzer starts")
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    memory::watched(input.len(), || (target().run)(input));
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed.into());
    match target().shape {
        // Blind changes, too: they find what nobody thought of.
        Some(shape) if random.below(4) > 0 => {
            let mut input = data[..size].to_vec();
            shape(&mut input, &mut random, max_size);
            let len = input.len().min(max_size);
            data[..len].copy_from_slice(&input[..len]);
            len
        }
        Some(_) => {
            let size = libfuzzer_sys::fuzzer_mutate(data, size, max_size);
            (target().mend)(&mut data[..size]);
            size
        }
        None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
});

unsafe extern "C" {
    fn LLVMFuzzerRunDriver(
        argc: *mut c_int,
        argv: *mut *mut *mut c_char,
        callback: unsafe extern "C" fn(*const u8, usize) -> c_int,
    ) -> c_int;
    fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int;
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("list") => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        Some("seeds") if arguments.len() == 3 => write_seeds(Path::new(&arguments[2])),
        Some(name) => {
            let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
                eprintln!("no target {name}; there are: {:?}", TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
                return ExitCode::FAILURE;
            };
            TARGET.get_or_init(|| target);
            // What is made once and kept (compiled patterns) is no input's doing.
            (target.seeds)().iter().for_each(|seed| (target.run)(seed));
            arguments[1] = format!("-max_len={}", target.longest);
            for argument in &mut arguments {
                if let Some(runs) = argument.strip_prefix("-runs=").and_then(|runs| runs.parse::<usize>().ok()) {
                    *argument = format!("-runs={}", runs / target.cost);
                }
            }
            return drive(arguments);
        }
        None => {
            eprintln!("stationmaster-fuzz list | seeds FOLDER | NAME [libFuzzer's options and folders]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn drive(arguments: Vec<String>) -> ExitCode {
    let c_string = |argument| CString::new(argument).expect("arguments hold no NUL").into_raw();
    let mut list: Vec<*mut c_char> = arguments.into_iter().map(c_string).collect();
    let mut count = list.len() as c_int;
    list.push(std::ptr::null_mut());
    let mut list = list.as_mut_ptr();
    // SAFETY: as `main` would be given them; they live as long as the process.
    let status = unsafe { LLVMFuzzerRunDriver(&mut count, &mut list, LLVMFuzzerTestOneInput) };
    ExitCode::from(u8::from(status != 0))
}

fn write_seeds(folder: &Path) {
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).expect("a folder for seeds");
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:04}")), seed).expect("a seed");
        }
    }
}
