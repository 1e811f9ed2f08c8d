//! Everything that the API declares is explained.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

type Declared = (String, Vec<i32>);

fn below(path: &[i32], kind: i32, index: usize) -> Vec<i32> {
    [path, &[kind, i32::try_from(index).expect("few enough")]].concat()
}

/// What a proto file declares: its name, and its path in the descriptor.
fn declared(file: &FileDescriptorProto) -> Vec<Declared> {
    let mut all = Vec::new();
    for (index, one) in file.message_type.iter().enumerate() {
        declared_by_message(one, one.name(), &below(&[], 4, index), &mut all);
    }
    for (index, one) in file.enum_type.iter().enumerate() {
        declared_by_enum(one, one.name(), &below(&[], 5, index), &mut all);
    }
    for (index, service) in file.service.iter().enumerate() {
        let path = below(&[], 6, index);
        for (index, method) in service.method.iter().enumerate() {
            all.push((format!("{}.{}", service.name(), method.name()), below(&path, 2, index)));
        }
        all.push((service.name().to_owned(), path));
    }
    all
}

fn declared_by_message(message: &DescriptorProto, name: &str, path: &[i32], all: &mut Vec<Declared>) {
    all.push((name.to_owned(), path.to_vec()));
    for (index, field) in message.field.iter().enumerate() {
        all.push((format!("{name}.{}", field.name()), below(path, 2, index)));
    }
    for (index, oneof) in message.oneof_decl.iter().enumerate() {
        // `optional` generates a oneof.
        if !oneof.name().starts_with('_') {
            all.push((format!("{name}.{}", oneof.name()), below(path, 8, index)));
        }
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        if !nested.options.as_ref().is_some_and(|options| options.map_entry()) {
            declared_by_message(nested, &format!("{name}.{}", nested.name()), &below(path, 3, index), all);
        }
    }
    for (index, one) in message.enum_type.iter().enumerate() {
        declared_by_enum(one, &format!("{name}.{}", one.name()), &below(path, 4, index), all);
    }
}

fn declared_by_enum(one: &EnumDescriptorProto, name: &str, path: &[i32], all: &mut Vec<Declared>) {
    all.push((name.to_owned(), path.to_vec()));
    for (index, value) in one.value.iter().enumerate() {
        all.push((format!("{name}.{}", value.name()), below(path, 2, index)));
    }
}

#[test]
fn every_declaration_of_the_api_has_a_comment() {
    let set = FileDescriptorSet::decode(stationmaster_proto::DESCRIPTORS).expect("descriptors");
    let (mut bare, mut seen) = (Vec::new(), 0);
    for file in set.file.iter().filter(|file| file.package() == "stationmaster.v1") {
        let info = file.source_code_info.as_ref().expect("source information");
        let explained: BTreeSet<&[i32]> =
            info.location.iter().filter(|one| !one.leading_comments().trim().is_empty()).map(|one| one.path.as_slice()).collect();
        let declared = declared(file);
        seen += declared.len();
        bare.extend(
            declared
                .into_iter()
                .filter(|(_, path)| !explained.contains(path.as_slice()))
                .map(|(name, _)| format!("{}: {name}", file.name())),
        );
    }
    assert!(seen > 150, "only {seen} declarations were seen");
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}
