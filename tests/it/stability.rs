//! README's section on stability: what is published of `stationmaster.v1`, its error reasons and its exit codes stays as it is.
//!
//! `stability/v1.txt` lists what is published. New declarations may be added; they are published, and added to the list, with a
//! release: `STATIONMASTER_PUBLISH=1 cargo test stability`.

use std::{collections::BTreeSet, fs, path::Path};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/stability/v1.txt");

fn field(message: &DescriptorProto, name: &str, field: &FieldDescriptorProto) -> String {
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    let presence = match field.oneof_index {
        Some(_) if field.proto3_optional() => " optional".to_owned(),
        Some(index) => format!(" in {}", message.oneof_decl[usize::try_from(index).expect("an index")].name()),
        None => String::new(),
    };
    format!("field {name}.{} = {}: {repeated}{kind}{presence}", field.name(), field.number())
}

fn message(all: &mut BTreeSet<String>, within: &str, declared: &DescriptorProto) {
    let name = format!("{within}.{}", declared.name());
    all.insert(format!("message {name}"));
    all.extend(declared.field.iter().map(|one| field(declared, &name, one)));
    declared.nested_type.iter().for_each(|nested| message(all, &name, nested));
    declared.enum_type.iter().for_each(|nested| enumeration(all, &name, nested));
}

fn enumeration(all: &mut BTreeSet<String>, within: &str, declared: &EnumDescriptorProto) {
    let name = format!("{within}.{}", declared.name());
    all.insert(format!("enum {name}"));
    all.extend(declared.value.iter().map(|value| format!("value {name}.{} = {}", value.name(), value.number())));
}

/// What the API declares.
fn of_the_api(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for file in set.file.iter().filter(|file| file.package() == "stationmaster.v1") {
        file.message_type.iter().for_each(|declared| message(&mut all, file.package(), declared));
        file.enum_type.iter().for_each(|declared| enumeration(&mut all, file.package(), declared));
        for service in &file.service {
            for method in &service.method {
                let stream = |is: bool| if is { "stream " } else { "" };
                all.insert(format!(
                    "rpc {}.{}.{} ({}{}) returns ({}{})",
                    file.package(),
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type().trim_start_matches('.'),
                    stream(method.server_streaming()),
                    method.output_type().trim_start_matches('.'),
                ));
            }
        }
    }
    all
}

/// The exit codes of the reasons, and the codes themselves, as the page gives them; unit tests hold the program to the page.
fn of_the_page() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).expect("docs/cli.md");
    let (_, table) = page.split_once("| Code | Meaning | Reasons |").expect("the table of exit codes");
    let mut all = BTreeSet::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        all.insert(format!("exit {}", cells[1]));
        let reasons = cells[3]
            .split([',', ' '])
            .filter(|word| word.len() > 3 && !word.contains(|c: char| !c.is_ascii_uppercase() && c != '_'));
        all.extend(reasons.map(|reason| format!("reason {reason} exits with {}", cells[1])));
    }
    all
}

/// What is published and does not exist any more, or not in the same form.
fn broken(published: &str, now: &BTreeSet<String>) -> Vec<String> {
    let lines = published.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let subject =
        |line: &str| line.split(['=', '(']).next().unwrap_or_default().split(" exits").next().map(str::trim).map(str::to_owned);
    lines
        .filter(|line| !now.contains(*line))
        .map(|line| match now.iter().find(|now| subject(now) == subject(line)) {
            Some(now) => format!("{line}\n    is now: {now}"),
            None => format!("{line}\n    is gone"),
        })
        .collect()
}

#[test]
fn what_is_published_is_neither_removed_nor_renamed_nor_renumbered_nor_of_another_type() {
    let set = FileDescriptorSet::decode(stationmaster_proto::DESCRIPTORS).expect("descriptors");
    let now: BTreeSet<String> = of_the_api(&set).into_iter().chain(of_the_page()).collect();
    if std::env::var_os("STATIONMASTER_PUBLISH").is_some() {
        fs::write(LIST, now.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("a list");
    }
    let published = fs::read_to_string(LIST).expect("the list of what is published");
    assert!(published.lines().count() > 200, "the list has lost lines");
    let broken = broken(&published, &now);
    assert!(
        broken.is_empty(),
        "README promises that these stay as they are within v1 (\"Stability\"): clients depend on them. Add something new beside them \
         instead.\n{}",
        broken.join("\n")
    );
}

#[test]
fn a_change_of_the_published_api_is_reported_with_what_it_was() {
    let mut set = FileDescriptorSet::decode(stationmaster_proto::DESCRIPTORS).expect("descriptors");
    let published: String = of_the_api(&set).iter().map(|line| format!("{line}\n")).collect();
    let of = |set: &FileDescriptorSet| broken(&published, &of_the_api(set));
    assert_eq!(of(&set), Vec::<String>::new());
    let keys = set.file.iter().position(|file| file.name().ends_with("keys.proto")).expect("keys.proto");
    let sign = set.file[keys].message_type.iter().position(|one| one.name() == "SignRequest").expect("SignRequest");

    let mut changed = set.clone();
    changed.file[keys].message_type[sign].field[0].number = Some(77);
    assert!(of(&changed)[0].contains("SignRequest.key_label = 1: string\n    is now: "), "{:?}", of(&changed));
    let mut changed = set.clone();
    changed.file[keys].message_type[sign].field[0].set_type(Type::Bytes);
    assert!(of(&changed)[0].contains("is now: field stationmaster.v1.SignRequest.key_label = 1: bytes"), "{:?}", of(&changed));
    let mut changed = set.clone();
    changed.file[keys].message_type[sign].field[0].name = Some("label".into());
    assert!(of(&changed)[0].ends_with("is gone"), "{:?}", of(&changed));
    let mut changed = set.clone();
    changed.file[keys].service[0].method[0].server_streaming = Some(true);
    assert!(of(&changed)[0].contains("is now: rpc"), "{:?}", of(&changed));
    // Something new is no change.
    let another = FieldDescriptorProto { number: Some(78), ..set.file[keys].message_type[sign].field[0].clone() };
    let another = FieldDescriptorProto { name: Some("another".into()), ..another };
    set.file[keys].message_type[sign].field.push(another);
    assert_eq!(of(&set), Vec::<String>::new());
}
