//! Names by which a layer removes what lower layers have (OCI layer.md "Whiteouts").

/// Prefix of the entry name that removes a path.
pub(crate) const WHITEOUT: &str = ".wh.";
/// Name of the entry that hides its directory's lower content.
pub(crate) const OPAQUE: &str = ".wh..wh..opq";
