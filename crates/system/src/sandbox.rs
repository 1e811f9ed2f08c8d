//! A sandbox for a process that has a vendor's library: it writes only where it must, starts no program, and looks into no other
//! process (Landlock, seccomp).

use std::{collections::BTreeMap, io, path::PathBuf};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// System calls that the process gets EPERM for: those that start programs, look into or change other processes, change the system,
/// or wait for connections.
const DENIED: [i64; 34] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_listen,
];

/// Enters the sandbox for good. Called before any other thread runs, because Landlock applies to the calling thread and to threads
/// that it starts. Without Landlock in the kernel (before 5.13), only the system calls are restricted, which is logged.
///
/// # Errors
/// When the kernel refuses, or a directory does not exist.
pub fn enter(writable: &[PathBuf]) -> io::Result<()> {
    restrict_writes(writable).map_err(|error| io::Error::other(format!("Landlock: {error}")))?;
    let program = filter().map_err(|error| io::Error::other(format!("seccomp: {error}")))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| io::Error::other(format!("seccomp: {error}")))
}

fn restrict_writes(writable: &[PathBuf]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let abi = ABI::V3;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::ReadFile | AccessFs::ReadDir))?;
    for directory in writable {
        let all = AccessFs::from_all(abi) & !AccessFs::Execute;
        rules = rules.add_rule(PathBeneath::new(PathFd::new(directory)?, all))?;
    }
    if rules.restrict_self()?.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no Landlock: the token's process may write wherever its user may");
    }
    Ok(())
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<i64, Vec<_>> = DENIED.iter().map(|number| (*number, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, denied, std::env::consts::ARCH.try_into()?)?.try_into()
}
