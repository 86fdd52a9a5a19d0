//! Random requests, generated from the descriptors of the API.

use std::collections::HashMap;

use portbook::grpc::proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// Boundary values.
pub const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    22,
    443,
    1_000,
    1_001,
    7_450,
    10_001,
    65_535,
    65_536,
    999_999_999,
    i32::MAX as u64,
    u32::MAX as u64,
    (i32::MIN as i64).cast_unsigned(),
    i64::MAX as u64,
    i64::MIN.cast_unsigned(),
    u64::MAX,
];

/// Texts that are valid for some field, or likely to break it.
pub const TEXTS: [&str; 24] = [
    "",
    "default",
    "-",
    "billing",
    "apps",
    "lab",
    "https",
    "*",
    "description",
    "443/tcp",
    "[2001:db8::1]:443",
    "https://example.com",
    "10.0.0.1:postgresql",
    "7f70d13f-1294-517b-b3ec-d5e0fb1b800b",
    "r1",
    "r18446744073709551616",
    "a\0b",
    "\u{1b}[2J",
    "%",
    "_\\'\"",
    "ü\u{202e}é\u{fffd}",
    "abcdefghijklmno",
    "abcdefghijklmnop",
    "AAAA",
];

/// Random choices; once they are used up, every choice is the smallest.
pub struct Choices<'c>(std::slice::Iter<'c, u8>);

impl<'c> Choices<'c> {
    pub fn of(bytes: &'c [u8]) -> Self {
        Self(bytes.iter())
    }

    fn pick(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default()) % sides
    }
}

/// The rpcs of both services, and their request messages.
pub struct Api {
    /// The path of each rpc, and its request message.
    pub methods: Vec<(String, String)>,
    messages: HashMap<String, DescriptorProto>,
}

impl Api {
    pub fn read() -> Self {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let mut api = Self { methods: Vec::new(), messages: HashMap::new() };
        for file in files {
            let package = file.package().to_owned();
            for message in file.message_type {
                api.add(&format!(".{package}"), message);
            }
            for service in file.service {
                for method in &service.method {
                    let path = format!("/{package}.{}/{}", service.name(), method.name());
                    api.methods.push((path, method.input_type().to_owned()));
                }
            }
        }
        assert!(api.methods.len() > 20, "{:?}", api.methods);
        api
    }

    fn add(&mut self, parent: &str, message: DescriptorProto) {
        let name = format!("{parent}.{}", message.name());
        for nested in message.nested_type.clone() {
            self.add(&name, nested);
        }
        self.messages.insert(name, message);
    }

    /// A message of that type, with likely values only or with any.
    pub fn message(&self, name: &str, choices: &mut Choices<'_>, depth: usize) -> Vec<u8> {
        let is_likely = choices.pick(2) == 1;
        self.message_of(name, choices, depth, is_likely)
    }

    fn message_of(
        &self,
        name: &str,
        choices: &mut Choices<'_>,
        depth: usize,
        is_likely: bool,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let fields = self.messages.get(name).map(|message| &message.field[..]).unwrap_or_default();
        for field in fields {
            let times = match (choices.pick(4), field.label()) {
                (0, _) => 0,
                (_, Label::Repeated) if !is_likely => [1, 1, 2, 5, 40][choices.pick(5)],
                _ => 1,
            };
            for _ in 0..times {
                let number = field.number().unsigned_abs();
                let text = match field.r#type() {
                    Type::Message if depth == 0 => Vec::new(),
                    Type::Message => {
                        self.message_of(field.type_name(), choices, depth - 1, is_likely)
                    }
                    Type::String if is_likely => likely_text(field.name(), choices).into(),
                    Type::String if choices.pick(30) == 29 => vec![b'x'; 3_000],
                    Type::String | Type::Bytes => TEXTS[choices.pick(TEXTS.len())].into(),
                    _ => {
                        let value = if is_likely {
                            likely_number(field.name(), choices)
                        } else {
                            NUMBERS[choices.pick(NUMBERS.len())]
                        };
                        encode_key(number, WireType::Varint, &mut bytes);
                        encode_varint(value, &mut bytes);
                        continue;
                    }
                };
                encode_key(number, WireType::LengthDelimited, &mut bytes);
                encode_varint(text.len() as u64, &mut bytes);
                bytes.extend(text);
            }
        }
        bytes
    }
}

/// A value that is likely valid for a field of that name.
fn likely_text(field: &str, choices: &mut Choices<'_>) -> &'static str {
    let texts: &[_] = match field {
        "namespace" => &["", "default", "lab"],
        "name" | "pool" => &["lab", "apps", "web"],
        "service_name" | "query" => &["billing", "https", "dns"],
        "endpoint" => &["10.0.0.1:80", ":22", "https://example.com", "db.example.com:postgresql"],
        "uid" => &["7f70d13f-1294-517b-b3ec-d5e0fb1b800b"],
        "paths" => &["*", "description"],
        "key" => &["tier"],
        "description" | "assignee" | "reason" | "value" => &["", "words", "more words"],
        _ => &[""],
    };
    texts[choices.pick(texts.len())]
}

fn likely_number(field: &str, choices: &mut Choices<'_>) -> u64 {
    let numbers: &[_] = match field {
        "port" | "first" | "ports" => &[7_450, 7_451, 29_500, 443, 22],
        "last" => &[29_500, 29_509],
        "transport" | "transports" => &[1, 2, 3, 4],
        "seconds" => &[60, 3_600, 86_400],
        "nanos" | "revision" => &[0],
        "validate_only" => &[0, 1],
        _ => &[1, 2],
    };
    numbers[choices.pick(numbers.len())]
}
