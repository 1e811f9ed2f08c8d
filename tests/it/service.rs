//! The service from outside: who gets in, what health says, how it ends, what it answers of images and with keys.

mod components;
mod drain;
mod ending;
mod hash;
mod keys;
mod log;
mod manager;
mod named;
mod now;
mod overload;
mod tls;
mod way_in;
