//! Files where names or bytes may be another user's: written without following links, read only when nobody else could have
//! changed them, and never waited for without end.
//!
//! [`Directory`] is a directory by its descriptor: all that is written below it gets an unpredictable name first, and keeps to the
//! directory that was opened. [`guarded`] reads the files that decide who is believed or admitted, and has the rule for them.
//! [`input`] opens what a command is given, and [`OutputFile`] is what a command writes. [`Aside`] is a thread for files that may hang.
//! [`explained`] says why a file is out of reach, in the system's [`words`].

mod aside;
mod denied;
mod directory;
pub mod guarded;
pub mod input;
mod new_file;
mod output;

pub use aside::{Aside, Stuck};
pub use denied::{explained, words};
pub use directory::{Directory, make_directory, make_private};
pub use new_file::NewFile;
pub use output::{Existing, OutputFile, Readers};

#[cfg(test)]
mod tests;
