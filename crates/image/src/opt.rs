//! A train's files below `/opt`: the strict reader, its sources, and the working directories of runs.

pub mod files;
pub mod layer_changes;
pub mod layered;
pub mod layered_tree;
pub mod reader;
pub mod sealed_files;
pub mod tar_stream;
pub mod train_archive;
pub mod train_archive_layers;
pub mod train_collector;
pub mod train_dirs;
pub mod uploaded;
pub mod working_dir;
