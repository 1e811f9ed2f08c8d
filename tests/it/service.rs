//! The service from outside: who gets in, what health says, how it ends, what it answers of images and with keys.

mod drain;
mod hash;
mod keys;
mod log;
mod way_in;
