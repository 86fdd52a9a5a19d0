//! Access control: every rpc with every kind of caller.

use std::fmt::Write as _;

use portbook::grpc::proto;
use prost::Message;
use sqlx::Connection;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::harness::{
    FREE, Server, TOKEN, acknowledge_all, assert_refused, create_pool, ensure, namespace, pool,
    ports, register, seconds,
};
use crate::raw_calls::RawCodec;

/// The secret of a test token.
struct Secret(String);

impl Secret {
    fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

fn token(name: &str, role: proto::Role, grants: Vec<proto::Grant>) -> proto::Token {
    proto::Token { name: name.into(), role: role.into(), grants, ..Default::default() }
}

fn grant(namespace: &str, pools: &[&str]) -> proto::Grant {
    let pools = pools.iter().map(ToString::to_string).collect();
    proto::Grant { namespace: namespace.into(), pools }
}

async fn create(server: &Server, token: proto::Token) -> Secret {
    let request = proto::CreateTokenRequest { token: Some(token) };
    let response = server.writes().await.create_token(request).await.unwrap();
    Secret(response.into_inner().secret)
}

/// Every rpc of both services.
fn rpcs() -> Vec<String> {
    let set = proto::FILE_DESCRIPTOR_SET;
    let set = prost_types::FileDescriptorSet::decode(set).unwrap();
    let mut rpcs = Vec::new();
    for file in set.file {
        for service in &file.service {
            let of = format!("{}.{}", file.package(), service.name());
            rpcs.extend(service.method.iter().map(|method| format!("{of}/{}", method.name())));
        }
    }
    rpcs
}

/// The result of a call with an empty message: the code of an access error, or `Ok` if the call is
/// permitted, whatever its result.
async fn attempt(server: &Server, rpc: &str, authorization: Option<&str>) -> Code {
    let mut client = tonic::client::Grpc::new(server.channel().await);
    client.ready().await.unwrap();
    let mut request = Request::new(());
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    let path = PathAndQuery::try_from(format!("/{rpc}")).unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let Err(status) = client.server_streaming(request, path, codec).await else {
        // The watch has started.
        return Code::Ok;
    };
    match status.code() {
        code @ (Code::Unauthenticated | Code::PermissionDenied) => code,
        Code::Internal | Code::Unknown | Code::Unavailable => panic!("{rpc}: {status:?}"),
        _ => Code::Ok,
    }
}

async fn matrix(server: &Server) -> String {
    let prod = vec![grant("prod", &[])];
    let viewer = create(server, token("v", proto::Role::Viewer, vec![])).await.bearer();
    let registrar = create(server, token("r", proto::Role::Registrar, prod)).await.bearer();
    let admin = format!("Bearer {TOKEN}");
    let callers = [
        None,
        Some("Bearer wrong-wrong-wrong-wrong"),
        Some(&viewer),
        Some(&registrar),
        Some(&admin),
    ];
    let mut output = String::new();
    for rpc in rpcs() {
        let (_, name) = rpc.split_once('/').unwrap();
        write!(output, "{name:22}").unwrap();
        for caller in callers {
            let word = match attempt(server, &rpc, caller).await {
                Code::Unauthenticated => "unauthenticated",
                Code::PermissionDenied => "denied",
                _ => "may",
            };
            write!(output, "{word:16}").unwrap();
        }
        output.truncate(output.trim_end().len());
        output.push('\n');
    }
    output
}

#[tokio::test]
async fn every_rpc_requires_its_role() {
    let server = Server::start();
    let header = format!(
        "{:22}{:16}{:16}{:16}{:16}{}\n",
        "", "no token", "wrong", "viewer", "registrar", "admin"
    );
    insta::assert_snapshot!("roles", header.clone() + &matrix(&server).await);
    let server = Server::start_with(&["--require-token-for-reads"]);
    insta::assert_snapshot!("roles_with_closed_reads", header + &matrix(&server).await);
}

#[tokio::test]
async fn only_a_currently_valid_token_is_accepted() {
    let server = Server::start();
    let brief = create(&server, token("brief", proto::Role::Admin, vec![])).await;
    let gone = create(&server, token("gone", proto::Role::Admin, vec![])).await;
    let rotated = create(&server, token("rotated", proto::Role::Admin, vec![])).await;
    for secret in [&brief, &gone, &rotated] {
        let mut writes = server.writes_as(Some(&secret.bearer())).await;
        writes.get_caller(proto::GetCallerRequest {}).await.unwrap();
    }
    let mut admin = server.writes().await;
    admin.revoke_token(proto::RevokeTokenRequest { name: "gone".into() }).await.unwrap();
    let rotate = proto::RotateTokenRequest { name: "rotated".into(), overlap: None };
    let recreated = admin.rotate_token(rotate).await.unwrap().into_inner().secret;

    // A token of another registry is invalid here.
    let elsewhere = Server::start();
    let foreign = create(&elsewhere, token("foreign", proto::Role::Admin, vec![])).await;
    let truncated = Secret(recreated[..recreated.len() - 1].to_owned());
    let longer = Secret(format!("{recreated}A"));
    for secret in [&gone, &rotated, &foreign, &truncated, &longer] {
        let mut writes = server.writes_as(Some(&secret.bearer())).await;
        assert_refused(
            writes.register_port(register("x", FREE)).await,
            Code::Unauthenticated,
            "TOKEN_INVALID",
        );
    }
    for header in ["Basic cG9ydDpib29r", "Bearer", "Bearer ", "pbk_x", &format!("Token {TOKEN}")] {
        let mut writes = server.writes_as(Some(header)).await;
        assert_refused(
            writes.register_port(register("x", FREE)).await,
            Code::Unauthenticated,
            "TOKEN_INVALID",
        );
    }
    assert_refused(
        server.writes_as(None).await.register_port(register("x", FREE)).await,
        Code::Unauthenticated,
        "TOKEN_MISSING",
    );
    // Set the expiry into the past while the server is down, to avoid a wait.
    let mut server = server;
    server.kill();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let mut file = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let ended = "update token set expire_time = create_time + 1 where name = 'brief'";
    assert_eq!(sqlx::query(ended).execute(&mut file).await.unwrap().rows_affected(), 1);
    file.close().await.unwrap();
    server.launch();
    let mut writes = server.writes_as(Some(&brief.bearer())).await;
    let output = writes.register_port(register("x", FREE)).await;
    let metadata = assert_refused(output, Code::Unauthenticated, "TOKEN_EXPIRED");
    assert!(metadata.contains_key("expire_time"), "{metadata:?}");
    // A rotated secret is accepted after a restart too.
    let mut writes = server.writes_as(Some(&Secret(recreated).bearer())).await;
    writes.register_port(register("x", FREE)).await.unwrap();
}

#[tokio::test]
async fn a_rotated_token_overlaps_for_the_requested_time() {
    let server = Server::start();
    let old = create(&server, token("ci", proto::Role::Admin, vec![])).await;
    let rotate = proto::RotateTokenRequest { name: "ci".into(), overlap: seconds(3600) };
    let response = server.writes().await.rotate_token(rotate).await.unwrap().into_inner();
    assert!(response.token.unwrap().former_expire_time.is_some());
    for secret in [old, Secret(response.secret)] {
        let mut writes = server.writes_as(Some(&secret.bearer())).await;
        writes.get_caller(proto::GetCallerRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_registrar_is_limited_to_its_grants() {
    let server = Server::start();
    let mut admin = server.writes().await;
    for name in ["prod", "staging"] {
        admin.create_namespace(namespace(name, proto::NamespacePolicy::default())).await.unwrap();
        let of = |name: &str, first| proto::Pool {
            namespace: name.into(),
            ..pool(if first == 9700 { "apps" } else { "edge" }, first, first + 9)
        };
        admin.create_pool(create_pool(of(name, 9700))).await.unwrap();
        admin.create_pool(create_pool(of(name, 9800))).await.unwrap();
    }
    let grants = vec![grant("prod", &[]), grant("staging", &["apps"])];
    let secret = create(&server, token("team", proto::Role::Registrar, grants)).await;
    let mut team = server.writes_as(Some(&secret.bearer())).await;
    let within = |namespace: &str, request: proto::RegisterPortRequest| {
        proto::RegisterPortRequest { namespace: namespace.into(), ..request }
    };
    let grant_of = |metadata: std::collections::HashMap<String, String>| {
        ["namespace", "pool"].map(|fact| metadata.get(fact).cloned().unwrap_or_default())
    };

    // All of prod; in staging only ports of its pool; nothing in other namespaces, existing or not.
    let mine = team.register_port(within("prod", register("a", FREE))).await.unwrap().into_inner();
    let mine = mine.assignments[0].uid.clone();
    for (at, request) in [
        (["staging", ""], within("staging", register("a", FREE))),
        (["default", ""], register("a", FREE)),
        (["nowhere", ""], within("nowhere", register("a", FREE))),
    ] {
        let response = team.register_port(request).await;
        assert_eq!(
            grant_of(assert_refused(response, Code::PermissionDenied, "PERMISSION_DENIED")),
            at
        );
    }
    let of = |namespace: &str, pool: &str| proto::EnsurePortRequest {
        namespace: namespace.into(),
        ..ensure(pool, "a")
    };
    for (namespace, pool) in [("prod", "apps"), ("prod", "edge"), ("staging", "apps")] {
        team.ensure_port(of(namespace, pool)).await.unwrap();
    }
    let response = team.ensure_port(of("staging", "edge")).await;
    let metadata = assert_refused(response, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(grant_of(metadata), ["staging", "edge"]);

    // One item without a grant refuses the batch.
    let requests = vec![within("prod", register("b", FREE + 1)), register("b", FREE + 1)];
    let batch = proto::BatchRegisterPortsRequest { requests, ..Default::default() };
    assert_refused(
        team.batch_register_ports(batch).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );

    // Registrations of others are refused without details.
    let theirs = admin.register_port(register("secretive", FREE)).await.unwrap().into_inner();
    let theirs = theirs.assignments[0].uid.clone();
    let by_uid = proto::ReleasePortRequest { uid: theirs.clone(), ..Default::default() };
    let metadata = assert_refused(
        team.release_port(by_uid).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    assert!(metadata.is_empty(), "{metadata:?}");
    let update = proto::UpdateAssignmentRequest {
        assignment: Some(proto::Assignment {
            uid: theirs.clone(),
            description: "mine now".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_refused(
        team.update_assignment(update).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    let renew = proto::RenewLeaseRequest { uid: theirs, ..Default::default() };
    assert_refused(team.renew_lease(renew).await, Code::PermissionDenied, "PERMISSION_DENIED");
    let by_port = proto::ReleasePortRequest { port: Some(FREE), ..Default::default() };
    assert_refused(team.release_port(by_port).await, Code::PermissionDenied, "PERMISSION_DENIED");
    let outside_pool =
        proto::RegisterPortRequest { namespace: "staging".into(), ..register("c", FREE) };
    admin.register_port(outside_pool).await.unwrap();
    let by_port = proto::ReleasePortRequest {
        namespace: "staging".into(),
        port: Some(FREE),
        ..Default::default()
    };
    assert_refused(team.release_port(by_port).await, Code::PermissionDenied, "PERMISSION_DENIED");

    // They can release their own registrations.
    let by_uid = proto::ReleasePortRequest { uid: mine, ..Default::default() };
    team.release_port(by_uid).await.unwrap();
    assert_eq!(server.info().await.revision, 13, "refused calls changed nothing");
}

#[tokio::test]
async fn only_an_admin_can_acknowledge_or_accept_system_ports() {
    let server = Server::start();
    let mut admin = server.writes().await;
    admin.create_namespace(namespace("prod", proto::NamespacePolicy::default())).await.unwrap();
    let accept = vec![proto::FindingCode::SystemPort.into()];
    let policy = proto::NamespacePolicy { accept, ..Default::default() };
    admin.create_namespace(namespace("lab", policy)).await.unwrap();
    let grants = vec![grant("prod", &[]), grant("lab", &[])];
    let secret = create(&server, token("team", proto::Role::Registrar, grants)).await;
    let mut team = server.writes_as(Some(&secret.bearer())).await;
    let low = |namespace: &str| proto::RegisterPortRequest {
        namespace: namespace.into(),
        ports: ports(1000, 1000),
        ..acknowledge_all(register("a", 1000))
    };
    let metadata = assert_refused(
        team.register_port(low("prod")).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );
    assert_eq!(metadata["role"], "admin");
    // A namespace policy set by an admin accepts them for every caller.
    team.register_port(low("lab")).await.unwrap();
    admin.register_port(low("prod")).await.unwrap();
}

#[tokio::test]
async fn token_lists_have_no_secrets_and_changes_apply_immediately() {
    let server = Server::start();
    let mut admin = server.writes().await;
    let secret = create(&server, token("ci", proto::Role::Viewer, vec![])).await;
    let mut ci = server.writes_as(Some(&secret.bearer())).await;
    let caller = ci.get_caller(proto::GetCallerRequest {}).await.unwrap().into_inner();
    assert_eq!(caller.token.unwrap().name, "ci");
    assert_refused(
        ci.register_port(register("a", FREE)).await,
        Code::PermissionDenied,
        "PERMISSION_DENIED",
    );

    let update = proto::UpdateTokenRequest {
        token: Some(proto::Token {
            name: "ci".into(),
            grants: vec![grant("default", &[])],
            ..Default::default()
        }),
        update_mask: None,
    };
    admin.update_token(update).await.unwrap();
    ci.register_port(register("a", FREE)).await.unwrap();

    for show_ended in [false, true] {
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListTokensRequest { page_size: 1, page_token, show_ended };
            let page = admin.list_tokens(request).await.unwrap().into_inner();
            names.extend(page.tokens.into_iter().map(|token| token.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                assert_eq!(names.len(), page.total_size as usize);
                break;
            }
        }
        assert_eq!(names, ["admin", "ci"]);
    }
    admin.revoke_token(proto::RevokeTokenRequest { name: "ci".into() }).await.unwrap();
    let list = |show_ended| proto::ListTokensRequest { show_ended, ..Default::default() };
    let standing = admin.list_tokens(list(false)).await.unwrap().into_inner();
    assert_eq!(standing.total_size, 1);
    let all = admin.list_tokens(list(true)).await.unwrap().into_inner();
    assert!(all.tokens.iter().any(|token| token.name == "ci" && token.revoke_time.is_some()));
    let only_one = proto::RevokeTokenRequest { name: "admin".into() };
    assert_refused(admin.revoke_token(only_one).await, Code::FailedPrecondition, "LAST_ADMIN");
    let get = |name: &str| proto::GetTokenRequest { name: name.into() };
    assert_refused(admin.get_token(get("nobody")).await, Code::NotFound, "TOKEN_NOT_FOUND");
    assert!(!format!("{all:?}").contains(&secret.0), "no secret is returned");
}

#[tokio::test]
async fn a_call_in_progress_is_refused_when_its_token_is_revoked() {
    let server = Server::start();
    let secret = create(&server, token("leaving", proto::Role::Admin, vec![])).await;
    let channel = server.channel().await;
    // The headers are sent, the message is not.
    let (message, messages) = tokio::sync::mpsc::channel(1);
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(messages));
    request.metadata_mut().insert("authorization", secret.bearer().parse().unwrap());
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/portbook.v1.PortAdminService/CreateToken");
    let begun = tokio::spawn(async move {
        let response = grpc.streaming(request, path, RawCodec).await;
        match response {
            Ok(mut responses) => responses.get_mut().message().await.map(drop),
            Err(status) => Err(status),
        }
    });
    // On the same connection, so that it is processed later.
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    let revoke = proto::RevokeTokenRequest { name: "leaving".into() };
    server.writes().await.revoke_token(revoke).await.unwrap();
    let direct = token("back-door", proto::Role::Admin, vec![]);
    let request = proto::CreateTokenRequest { token: Some(direct) };
    message.send(request.encode_to_vec()).await.unwrap();
    drop(message);
    assert_refused(begun.await.unwrap(), Code::Unauthenticated, "TOKEN_INVALID");
    let get = proto::GetTokenRequest { name: "back-door".into() };
    assert_refused(server.writes().await.get_token(get).await, Code::NotFound, "TOKEN_NOT_FOUND");
}

#[tokio::test]
async fn a_secret_passed_as_a_name_is_not_stored_or_shown() {
    let mut server = Server::seeded();
    let log = server.launch_logged(&["--log", "info"]);
    let secret = create(&server, token("ci", proto::Role::Viewer, vec![])).await;
    let mistake = proto::GetTokenRequest { name: secret.0.clone() };
    server.writes().await.get_token(mistake).await.unwrap_err();
    let mistake = token(&secret.0, proto::Role::Viewer, vec![]);
    let mistake = proto::CreateTokenRequest { token: Some(mistake) };
    let refused = server.writes().await.create_token(mistake).await.unwrap_err();
    assert!(!format!("{refused:?}").contains(&secret.0));
    assert!(server.signal("TERM").await.success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("token created") && !log.contains(&secret.0), "{log}");
}

#[tokio::test]
async fn an_invalid_token_is_refused_even_where_none_is_required() {
    let server = Server::start();
    for (authorization, code) in
        [("Bearer wrong-wrong-wrong-wrong", Code::Unauthenticated), ("", Code::Ok)]
    {
        let authorization = (!authorization.is_empty()).then_some(authorization);
        let rpc = "portbook.v1.PortRegistryService/GetRegistryInfo";
        assert_eq!(attempt(&server, rpc, authorization).await, code);
    }
}
