//! Advisory locks of open files and directories (`flock(2)`). The kernel releases them with the descriptor.

use std::{io, os::fd::AsFd};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Waits for the exclusive lock.
///
/// # Errors
/// When the file system does not support locks.
pub fn lock(file: impl AsFd) -> io::Result<()> {
    Ok(flock(file, FlockOperation::LockExclusive)?)
}

/// Takes the exclusive lock without waiting. Returns whether no other process has it.
///
/// # Errors
/// When the file system does not support locks.
pub fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
