//! Reader of image archives and OCI layout directories: one reader for `docker save`, OCI archives and layouts.

pub mod blob;
pub mod buffer_pool;
pub mod decompress;
pub mod decompress_thread;
pub mod entry_check;
pub mod foreign_directory;
pub mod hash_thread;
pub mod layer_sink;
pub mod layout_dir;
pub mod memory_budget;
pub mod reader;
pub mod source;
pub mod stored_image;
