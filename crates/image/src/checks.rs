//! Checks of whole images: the comparison with a master image, and the scan before a push.

pub mod master;
pub mod push_scan;
