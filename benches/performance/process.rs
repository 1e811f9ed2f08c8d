//! What processes cost: of a child from its end (`wait4`), of a service from `/proc`.

use std::{
    fs,
    io::{Read, Seek},
    process::{Command, Stdio},
    time::Instant,
};

use crate::support::as_root;

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In the program.
    pub user: f64,
    /// In the kernel for it.
    pub system: f64,
}

impl Cpu {
    /// Both.
    pub fn all(self) -> f64 {
        self.user + self.system
    }

    /// What came on top of an earlier reading.
    pub fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }

    fn of(usage: &libc::rusage) -> Self {
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Self { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
    }

    /// Of this process so far.
    pub fn own() -> Self {
        // SAFETY: a plain structure, filled by the call.
        let usage = unsafe {
            let mut usage = std::mem::zeroed();
            assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0, "getrusage");
            usage
        };
        Self::of(&usage)
    }

    /// Of another process so far; of one that cannot be seen nothing.
    pub fn of_process(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let seconds = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? / ticks());
        Some(Self { user: seconds(11)?, system: seconds(12)? })
    }

    /// Of another process and those that its threads have started, so far.
    pub fn of_process_and_children(pid: u32) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> =
            children.flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        let all = children.into_iter().filter_map(Self::of_process).chain(Self::of_process(pid));
        all.reduce(|sum, one| Self { user: sum.user + one.user, system: sum.system + one.system })
    }
}

fn ticks() -> f64 {
    // SAFETY: asks for a constant of the system.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Lets the kernel forget the highest memory of a process so far.
pub fn reset_peak(pid: u32) {
    let done = as_root("sh").arg("-c").arg(format!("echo 5 >/proc/{pid}/clear_refs")).status().expect("sh");
    assert!(done.success(), "the service's highest memory cannot be forgotten: not root, and no sudo");
}

/// A child that has ended well.
pub struct Ended {
    /// Seconds from its start to its end.
    pub wall: f64,
    /// What it used.
    pub cpu: Cpu,
    /// The most memory it had, in MiB.
    pub peak_mib: f64,
    /// What it wrote to standard output.
    pub output: String,
}

/// Runs a command to its end. Panics when it fails.
#[expect(clippy::zombie_processes, reason = "`wait4` waits, and says what it cost")]
pub fn run(command: &mut Command) -> Ended {
    let mut log = tempfile::tempfile().expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone().expect("a file"));
    let begun = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut output = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut output).expect("text");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::zeroed());
    let pid = child.id().cast_signed();
    // SAFETY: a child that only this thread waits for; the structure is filled by the call.
    let usage: libc::rusage = unsafe {
        assert_eq!(libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()), pid, "wait4");
        usage.assume_init()
    };
    let wall = begun.elapsed().as_secs_f64();
    if status != 0 {
        let mut said = String::new();
        let _ = log.rewind();
        let _ = log.read_to_string(&mut said);
        panic!("{command:?} ended with {status}:\n{output}\n{said}");
    }
    Ended { wall, cpu: Cpu::of(&usage), peak_mib: usage.ru_maxrss as f64 / 1024.0, output }
}
