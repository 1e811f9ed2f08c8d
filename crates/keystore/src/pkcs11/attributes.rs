//! Reads values from the attributes of an object.

use cryptoki::object::{Attribute, AttributeType};

/// Returns a byte string among the attributes; empty when the object does not have it.
pub(super) fn bytes(attributes: &[Attribute], wanted: AttributeType) -> Vec<u8> {
    let found =
        attributes.iter().filter(|attribute| attribute.attribute_type() == wanted).find_map(|attribute| match attribute {
            Attribute::Label(bytes)
            | Attribute::Id(bytes)
            | Attribute::Modulus(bytes)
            | Attribute::PublicExponent(bytes)
            | Attribute::EcParams(bytes)
            | Attribute::EcPoint(bytes) => Some(bytes.clone()),
            _ => None,
        });
    found.unwrap_or_default()
}

/// Returns whether a flag among the attributes is set.
pub(super) fn is_set(attributes: &[Attribute], wanted: AttributeType) -> bool {
    attributes.iter().filter(|attribute| attribute.attribute_type() == wanted).any(|attribute| {
        matches!(
            attribute,
            Attribute::Sensitive(true)
                | Attribute::Extractable(true)
                | Attribute::NeverExtractable(true)
                | Attribute::Local(true)
        )
    })
}
