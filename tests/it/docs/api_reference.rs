//! The tables of docs/api.md, generated from the protos: rpcs, findings, reasons of errors.

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use super::assert_generated;
use portbook::grpc::proto::FILE_DESCRIPTOR_SET;
use portbook::grpc::rpcs::{RPCS, RequiredRole};
use portbook::registry::finding::{FindingCode, Severity};

/// Numbers of the fields of descriptors, of which paths to comments consist.
const SERVICE: i32 = 6;
const METHOD: i32 = 2;
const ENUM: i32 = 5;
const VALUE: i32 = 2;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().filter(|file| file.package() == "portbook.v1").collect()
}

/// The comment of an element, as one line.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let info = file.source_code_info.as_ref().unwrap();
    let location = info.location.iter().find(|location| location.path == path).unwrap();
    location.leading_comments().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first sentence of a comment, for a cell of a table.
fn first_sentence(comment: &str) -> String {
    let end = comment.find(". ").map_or(comment.trim_end_matches('.').len(), |end| end);
    comment[..end].replace('|', "\\|")
}

/// Each rpc of a service, with what it does.
fn rpcs(service_name: &str) -> String {
    let mut table =
        vec!["| rpc | role | request → response | |".to_owned(), "|---|---|---|---|".to_owned()];
    for file in files() {
        for (number, service) in (0..).zip(&file.service) {
            if service.name() != service_name {
                continue;
            }
            for (index, method) in (0..).zip(&service.method) {
                let kind = |is_stream| if is_stream { "stream" } else { "one" };
                let kinds = (kind(method.client_streaming()), kind(method.server_streaming()));
                let does = first_sentence(&comment(&file, &[SERVICE, number, METHOD, index]));
                let rpc = RPCS.iter().find(|rpc| rpc.method == method.name()).unwrap();
                let role = role(rpc.role);
                let name = method.name();
                table.push(format!("| `{name}` | {role} | {} → {} | {does} |", kinds.0, kinds.1));
            }
        }
    }
    table.join("\n")
}

const fn role(role: RequiredRole) -> &'static str {
    match role {
        RequiredRole::None | RequiredRole::Reader => "-",
        RequiredRole::Token => "any",
        RequiredRole::Registrar => "registrar",
        RequiredRole::Admin => "admin",
    }
}

/// The values of an enum, without the one that stands for none, and their comments.
fn values(name: &str) -> Vec<(String, String)> {
    for file in files() {
        let found = (0..).zip(&file.enum_type).find(|(_, known)| known.name() == name);
        if let Some((number, known)) = found {
            let values = (0..).zip(&known.value).skip(1);
            let described = values.map(|(index, value)| {
                (value.name().to_owned(), comment(&file, &[ENUM, number, VALUE, index]))
            });
            return described.collect();
        }
    }
    panic!("no enum {name}");
}

fn findings() -> String {
    let mut table = vec!["| finding | severity | when |".to_owned(), "|---|---|---|".to_owned()];
    for (name, comment) in values("FindingCode") {
        let name = name.strip_prefix("FINDING_CODE_").unwrap();
        let severity = match FindingCode::from_name(name).unwrap().severity() {
            Severity::Blocker => "blocker",
            Severity::Acknowledge => "acknowledge",
            Severity::Note => "note",
        };
        table.push(format!("| `{name}` | {severity} | {} |", first_sentence(&comment)));
    }
    table.join("\n")
}

fn reasons() -> String {
    let mut table = vec!["| reason | code, and when |".to_owned(), "|---|---|".to_owned()];
    for (name, comment) in values("ErrorReason") {
        let name = name.strip_prefix("ERROR_REASON_").unwrap();
        table.push(format!("| `{name}` | {} |", comment.replace('|', "\\|")));
    }
    table.join("\n")
}

#[test]
fn the_api_page_has_every_rpc() {
    for service in ["PortRegistryService", "PortAdminService"] {
        assert_generated("docs/api.md", Some(service), &rpcs(service));
    }
}

#[test]
fn the_api_page_has_every_finding() {
    assert_generated("docs/api.md", Some("findings"), &findings());
}

#[test]
fn the_api_page_has_every_reason() {
    assert_generated("docs/api.md", Some("reasons"), &reasons());
}
