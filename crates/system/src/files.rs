//! Safe access to files whose names or contents another user may control: written without following links, read only when no other
//! user could have changed them, and without waiting for them indefinitely.
//!
//! [`Directory`] is a directory by its descriptor: everything that is written below it first gets an unpredictable name, and stays in
//! the directory that was opened. [`guarded`] reads the files that decide about trust and access, and defines the rule for them.
//! [`input`] opens input files of commands, and [`OutputFile`] is an output file of a command. [`FileThread`] is a thread for files that may
//! hang. [`explained`] explains why a file is inaccessible, in the system's [`words`].

mod create;
mod denied;
mod directory;
mod file_thread;
pub mod guarded;
pub mod input;
mod lock;
mod new_file;
mod output;

pub use create::{check_private, make_directory, make_private, open_to_append};
pub use denied::{explained, words};
pub use directory::Directory;
pub use file_thread::{FileThread, NotResponding};
pub use lock::{lock, try_lock};
pub use new_file::NewFile;
pub use output::{Existing, OutputFile, Readers};

#[cfg(test)]
mod tests;
