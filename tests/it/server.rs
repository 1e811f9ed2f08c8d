//! The service from outside: who gets in, what health says, how it ends, what it answers of images and with keys.

mod components;
pub mod core_image;
mod curve_keys;
mod drain;
mod ending;
pub mod foreign_client;
mod hash;
mod keys;
pub mod limits;
mod log;
mod manager;
pub mod memory;
mod named;
mod now;
mod overload;
pub mod protected_files;
mod tls;
mod token_tls;
pub mod transport;
