//! A server for scenario tests: the real binary, on a free port, with a temporary database.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;

use portbook::grpc::proto::port_admin_service_client::PortAdminServiceClient;
use portbook::grpc::proto::port_registry_service_client::PortRegistryServiceClient;
use portbook::grpc::proto::{self, FindingCode, Transport};
use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::capabilities::is_supported;

pub const TOKEN: &str = "pbk_the-admin-token-of-the-tests";
/// A port without an IANA or common use; the nine after it are free too.
pub const FREE: u32 = 7450;
/// Another one; the 570 after it are free too.
pub const QUIET: u32 = 29_420;

pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub address: String,
    pub ready_line: String,
    http: String,
    /// A connection, and the address that it is to.
    shared: tokio::sync::Mutex<Option<(String, Channel)>>,
}

fn reads(channel: Channel) -> PortRegistryServiceClient<Channel> {
    PortRegistryServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024)
}

/// The binary under test, without the caller's `PORTBOOK_` variables.
pub fn portbook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portbook"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PORTBOOK_")) {
        command.env_remove(name);
    }
    command
}

impl Server {
    /// A server on a new database, whose admin token is [`TOKEN`].
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with additional flags.
    pub fn start_with(flags: &[&str]) -> Self {
        let mut server = Self::seeded();
        server.launch_with(flags);
        server
    }

    /// A server that is not started, on a new database, whose admin token is [`TOKEN`].
    ///
    /// The database is a copy of a template: creating one takes much longer than starting on it. All
    /// copies have the same database id.
    pub fn seeded() -> Self {
        let server = Self::stopped();
        copy_template(&server.database());
        server
    }

    /// A server that is not started and has no database.
    pub fn stopped() -> Self {
        Self {
            child: None,
            folder: TempDir::new().unwrap(),
            address: String::new(),
            ready_line: String::new(),
            http: String::new(),
            shared: tokio::sync::Mutex::default(),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("portbook.db")
    }

    /// Starts the server on the existing database.
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// Starts it with additional flags.
    pub fn launch_with(&mut self, flags: &[&str]) {
        self.launch_as(serve(&self.database()).args(flags));
    }

    /// Starts it with additional flags, and writes its log to a file.
    pub fn launch_logged(&mut self, flags: &[&str]) -> PathBuf {
        let log = self.folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        self.launch_as(serve(&self.database()).args(flags).stderr(file));
        log
    }

    /// Starts the server with this command.
    pub fn launch_as(&mut self, command: &mut Command) {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap_or_else(|| Ok(String::new())).unwrap();
        if command.get_args().any(|flag| flag == "--http-listen") {
            let second = lines.next().unwrap().unwrap();
            let address = second.strip_prefix("portbook metrics on http://").unwrap();
            address.trim_end_matches("/metrics").clone_into(&mut self.http);
        }
        let address = line.split("listening on ").nth(1).and_then(|rest| rest.split(": ").next());
        let Some(address) = address else { panic!("no ready line: {line:?}") };
        address.clone_into(&mut self.address);
        self.ready_line = line;
        self.child = Some(child);
    }

    /// Ends the server with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal to the server and waits for its end.
    pub async fn signal(&mut self, signal: &str) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        // The clients of this test must continue meanwhile: the server waits for idle ones.
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    /// The URL of the HTTP listener.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The current and the peak resident memory of the server, in KiB. Zero if the system does not
    /// report it.
    pub fn memory_kib(&self) -> (u64, u64) {
        if !is_supported(std::thread::current().name().unwrap()) {
            return (0, 0);
        }
        let id = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let figure = |name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (figure("VmRSS:"), figure("VmHWM:"))
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn reads(&self) -> PortRegistryServiceClient<Channel> {
        reads(self.channel().await)
    }

    /// A client that shares one connection with the methods below.
    async fn shared_reads(&self) -> PortRegistryServiceClient<Channel> {
        let mut shared = self.shared.lock().await;
        match &*shared {
            Some((address, channel)) if *address == self.address => reads(channel.clone()),
            _ => {
                let channel = self.channel().await;
                *shared = Some((self.address.clone(), channel.clone()));
                reads(channel)
            }
        }
    }

    pub async fn writes(&self) -> Writes {
        self.writes_as(Some(&format!("Bearer {TOKEN}"))).await
    }

    /// An admin client with this `authorization`.
    pub async fn writes_as(&self, authorization: Option<&str>) -> Writes {
        let authorization = authorization.map(|value| value.parse().unwrap());
        PortAdminServiceClient::with_interceptor(self.channel().await, Authorization(authorization))
    }

    pub async fn lookup(&self, port: u32) -> proto::PortInfo {
        let request = proto::LookupPortRequest { port: Some(port), ..Default::default() };
        let response = self.shared_reads().await.lookup_port(request).await.unwrap().into_inner();
        decode(&response.port_info)
    }

    /// The registrations that match the filter, read page by page.
    pub async fn registered(
        &self,
        filter: proto::AssignmentFilter,
        as_of: Option<proto::AsOf>,
    ) -> Vec<proto::Assignment> {
        let sources = vec![proto::Source::Custom.into()];
        let mut request = proto::ListAssignmentsRequest {
            filter: Some(proto::AssignmentFilter { sources, ..filter }),
            page_size: 1000,
            page_token: String::new(),
            as_of,
        };
        let (mut reads, mut all) = (self.shared_reads().await, Vec::new());
        loop {
            let page = reads.list_assignments(request.clone()).await.unwrap().into_inner();
            all.extend(page.assignments);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                assert_eq!(all.len(), page.total_size as usize);
                return all;
            }
        }
    }

    /// All registrations of all namespaces.
    pub async fn all_registrations(&self) -> Vec<proto::Assignment> {
        self.registered(
            proto::AssignmentFilter { namespace: "-".into(), ..Default::default() },
            None,
        )
        .await
    }

    /// The changes that match the filter, oldest first, read page by page.
    pub async fn history(&self, filter: proto::ChangeFilter) -> Vec<proto::Change> {
        let mut request = proto::ListChangesRequest {
            filter: Some(filter),
            page_size: 1000,
            ..Default::default()
        };
        let (mut reads, mut all) = (self.shared_reads().await, Vec::new());
        loop {
            let page = reads.list_changes(request.clone()).await.unwrap().into_inner();
            all.extend(page.changes);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return all;
            }
        }
    }

    pub async fn watch(
        &self,
        start_revision: u64,
        filter: proto::WatchFilter,
    ) -> Streaming<proto::WatchAssignmentsResponse> {
        let request = proto::WatchAssignmentsRequest { start_revision, filter: Some(filter) };
        self.reads().await.watch_assignments(request).await.unwrap().into_inner()
    }

    pub async fn info(&self) -> proto::GetRegistryInfoResponse {
        let request = proto::GetRegistryInfoRequest {};
        self.shared_reads().await.get_registry_info(request).await.unwrap().into_inner()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The content and the permissions of a database after a first start, which is made once for all tests.
static TEMPLATE: LazyLock<(Vec<u8>, Permissions)> = LazyLock::new(|| {
    let mut server = Server::stopped();
    server.launch();
    let mut child = server.child.take().unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    let database = server.database();
    (fs::read(&database).unwrap(), fs::metadata(&database).unwrap().permissions())
});

fn copy_template(database: &Path) {
    let (content, permissions) = &*TEMPLATE;
    fs::write(database, content).unwrap();
    fs::set_permissions(database, permissions.clone()).unwrap();
}

/// A store on a new database, and the folder of its file.
pub async fn seeded_store() -> (TempDir, SqliteStore) {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("portbook.db");
    copy_template(&database);
    (folder, SqliteStore::open(&database).await.unwrap())
}

/// `portbook serve` on this database and a free port.
pub fn serve(database: &Path) -> Command {
    let mut command = portbook();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--database"])
        .arg(database)
        .env("PORTBOOK_LOG", "warn")
        .env("PORTBOOK_BOOTSTRAP_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The exit code and the error output of a server that fails to start.
pub fn failed_start(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    child.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    (child.wait().unwrap().code(), output)
}

pub type Writes = PortAdminServiceClient<InterceptedService<Channel, Authorization>>;

#[derive(Clone)]
pub struct Authorization(Option<MetadataValue<Ascii>>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub fn decode<M: prost::Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the message field")]
pub fn ports(first: u32, last: u32) -> Option<proto::PortRange> {
    Some(proto::PortRange { first: Some(first), last: Some(last) })
}

pub fn register(name: &str, port: u32) -> proto::RegisterPortRequest {
    proto::RegisterPortRequest {
        service_name: name.into(),
        ports: ports(port, port),
        transports: vec![Transport::Tcp.into()],
        ..Default::default()
    }
}

pub fn release(uid: &str) -> proto::ReleasePortRequest {
    proto::ReleasePortRequest { uid: uid.into(), ..Default::default() }
}

pub fn namespace(name: &str, policy: proto::NamespacePolicy) -> proto::CreateNamespaceRequest {
    let policy = Some(policy);
    let namespace = proto::Namespace { name: name.into(), policy, ..Default::default() };
    proto::CreateNamespaceRequest { namespace: Some(namespace), ..Default::default() }
}

/// A pool of TCP ports.
pub fn pool(name: &str, first: u32, last: u32) -> proto::Pool {
    proto::Pool {
        name: name.into(),
        ports: ports(first, last).into_iter().collect(),
        transports: vec![Transport::Tcp.into()],
        ..Default::default()
    }
}

pub fn create_pool(pool: proto::Pool) -> proto::CreatePoolRequest {
    proto::CreatePoolRequest { pool: Some(pool), ..Default::default() }
}

pub fn ensure(pool: &str, service_name: &str) -> proto::EnsurePortRequest {
    proto::EnsurePortRequest {
        pool: pool.into(),
        service_name: service_name.into(),
        ..Default::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of the message field")]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// The codes as numbers, the type of the message field.
pub fn numbers(codes: &[FindingCode]) -> Vec<i32> {
    codes.iter().map(|code| (*code).into()).collect()
}

pub fn codes(findings: &[proto::Finding]) -> Vec<FindingCode> {
    findings.iter().map(|finding| finding.code()).collect()
}

pub fn first_port(assignment: &proto::Assignment) -> u32 {
    assignment.ports.unwrap().first()
}

/// The registrations that result from a sequence of changes.
#[derive(Default)]
pub struct Replay(pub BTreeMap<String, proto::Assignment>);

impl Replay {
    /// Applies a change, which must follow from the previous ones.
    pub fn apply(&mut self, change: &proto::Change) {
        if let Some(before) = &change.before {
            assert_eq!(self.0.remove(&before.uid).as_ref(), Some(before), "{change:?}");
        }
        if let Some(after) = &change.after {
            let double = self.0.insert(after.uid.clone(), after.clone());
            assert_eq!(double, None, "{change:?}");
        }
    }

    /// Asserts that these are the registrations, in any order.
    pub fn assert_is(&self, registered: Vec<proto::Assignment>) {
        let registered: BTreeMap<_, _> =
            registered.into_iter().map(|assignment| (assignment.uid.clone(), assignment)).collect();
        assert_eq!(self.0, registered);
    }
}

/// The output of the future; fails after a minute.
pub async fn within_timeout<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_mins(1), work).await.unwrap()
}

/// A deterministic random generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 - `sides - 1`.
    pub fn below(&mut self, sides: u32) -> u32 {
        // Knuth's MMIX; its upper half is random enough for tests.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(sides)) as u32
    }
}

/// The registration, with every finding acknowledged that can be.
pub fn acknowledge_all(request: proto::RegisterPortRequest) -> proto::RegisterPortRequest {
    let codes = [
        FindingCode::SystemPort,
        FindingCode::IanaAssigned,
        FindingCode::IanaReserved,
        FindingCode::DynamicPort,
        FindingCode::CoolingDown,
        FindingCode::ServiceNameElsewhere,
    ];
    proto::RegisterPortRequest { acknowledge: codes.map(Into::into).to_vec(), ..request }
}

/// The code, the reason and the details of a refusal, which must have an `ErrorInfo` of our domain.
pub fn error_parts<T: std::fmt::Debug>(
    response: Result<T, Status>,
) -> (Code, String, ErrorDetails) {
    let status = response.unwrap_err();
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "portbook");
    (status.code(), info.reason.clone(), details)
}

/// Asserts that the result is this refusal; returns the metadata of its `ErrorInfo`.
pub fn assert_refused<T: std::fmt::Debug>(
    response: Result<T, Status>,
    code: Code,
    reason: &str,
) -> HashMap<String, String> {
    let (code_found, why, details) = error_parts(response);
    assert_eq!((code_found, why.as_str()), (code, reason));
    details.error_info().unwrap().metadata.clone()
}

/// The fields that a `BadRequest` names.
pub fn bad_fields(details: &ErrorDetails) -> Vec<String> {
    let violations = details.bad_request().map(|bad| bad.field_violations.clone());
    violations.unwrap_or_default().into_iter().map(|violation| violation.field).collect()
}

/// Runs a query on the database file with the `sqlite3` that the server is built with.
pub async fn sql_counts(database: &Path, query: &str) -> Vec<(String, i64)> {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query_as(sqlx::AssertSqlSafe(query.to_owned())).fetch_all(&mut connection).await.unwrap()
}
