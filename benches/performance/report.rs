pub fn text(record: &crate::record::Record) -> String { serde_json::to_string(record).unwrap() }
pub fn write(record: &crate::record::Record) { println!("{}", text(record)); }
