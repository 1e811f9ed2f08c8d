//! OCI documents: descriptors, manifests, configurations and references, read strictly (OCI image-spec).

pub mod descriptors;
pub mod digest;
pub mod documents;
pub mod image_config;
pub mod reference;
pub mod selection;
pub mod strict_json;
pub mod whiteouts;
