//! A server to tell stories to: the real binary, on a free port, with a database of its own that
//! goes when the test ends.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use portbook::grpc::proto::port_admin_service_client::PortAdminServiceClient;
use portbook::grpc::proto::port_registry_service_client::PortRegistryServiceClient;
use portbook::grpc::proto::{self, FindingCode, Transport};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

pub const TOKEN: &str = "pbk_the-admin-token-of-the-tests";
/// A port that neither IANA nor everyday use has a word for; so are the nine after it.
pub const FREE: u32 = 7450;
/// Another one, with room: so are the 570 after it.
pub const QUIET: u32 = 29_420;

pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub address: String,
    pub ready_line: String,
    http: String,
}

/// The binary under test, cut off from the settings of whoever runs the tests.
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
        let mut server = Self::stopped();
        server.launch();
        server
    }

    /// A server that is not running yet, and has no database.
    pub fn stopped() -> Self {
        Self {
            child: None,
            folder: TempDir::new().unwrap(),
            address: String::new(),
            ready_line: String::new(),
            http: String::new(),
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("portbook.db")
    }

    /// Starts the server on the database as it was left.
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// Starts it with more flags.
    pub fn launch_with(&mut self, flags: &[&str]) {
        self.launch_as(serve(&self.database()).args(flags));
    }

    /// Starts it with more flags and its log in a file.
    pub fn launch_logged(&mut self, flags: &[&str]) -> PathBuf {
        let log = self.folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        self.launch_as(serve(&self.database()).args(flags).stderr(file));
        log
    }

    /// Starts the server like this.
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

    /// Ends the server as a loss of power would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends the server with a signal, and waits for it.
    pub async fn signal(&mut self, signal: &str) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        // The clients of this test go on meanwhile: a server waits for those that say nothing.
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }

    /// Where it answers over HTTP.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// What the server has in memory, and the most it has had, in KiB.
    pub fn memory_kib(&self) -> (u64, u64) {
        let id = self.child.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
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
        PortRegistryServiceClient::new(self.channel().await)
            .max_decoding_message_size(64 * 1024 * 1024)
    }

    pub async fn writes(&self) -> Writes {
        self.writes_as(Some(&format!("Bearer {TOKEN}"))).await
    }

    /// The writes with this `authorization`.
    pub async fn writes_as(&self, authorization: Option<&str>) -> Writes {
        let authorization = authorization.map(|value| value.parse().unwrap());
        PortAdminServiceClient::with_interceptor(self.channel().await, Authorization(authorization))
    }

    pub async fn lookup(&self, port: u32) -> proto::PortInfo {
        let request = proto::LookupPortRequest { port: Some(port), ..Default::default() };
        let answer = self.reads().await.lookup_port(request).await.unwrap().into_inner();
        decode(&answer.port_info)
    }

    /// The registrations that pass the filter, page by page.
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
        let (mut reads, mut all) = (self.reads().await, Vec::new());
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

    /// Everything that is registered in any namespace.
    pub async fn everything(&self) -> Vec<proto::Assignment> {
        self.registered(
            proto::AssignmentFilter { namespace: "-".into(), ..Default::default() },
            None,
        )
        .await
    }

    /// The changes that pass the filter, oldest first, page by page.
    pub async fn history(&self, filter: proto::ChangeFilter) -> Vec<proto::Change> {
        let mut request = proto::ListChangesRequest {
            filter: Some(filter),
            page_size: 1000,
            ..Default::default()
        };
        let (mut reads, mut all) = (self.reads().await, Vec::new());
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
        self.reads().await.get_registry_info(request).await.unwrap().into_inner()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
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

/// What a server that can't start says, and how it ends.
pub fn failed_start(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
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

#[expect(clippy::unnecessary_wraps, reason = "as the field of a message has it")]
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

#[expect(clippy::unnecessary_wraps, reason = "as the field of a message has it")]
pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// As a request has them.
pub fn numbers(codes: &[FindingCode]) -> Vec<i32> {
    codes.iter().map(|code| (*code).into()).collect()
}

pub fn codes(findings: &[proto::Finding]) -> Vec<FindingCode> {
    findings.iter().map(|finding| finding.code()).collect()
}

pub fn first_port(assignment: &proto::Assignment) -> u32 {
    assignment.ports.unwrap().first()
}

/// The registry as its changes tell it.
#[derive(Default)]
pub struct Fold(pub BTreeMap<String, proto::Assignment>);

impl Fold {
    /// Takes over a change, which has to fit what was told before.
    pub fn apply(&mut self, change: &proto::Change) {
        if let Some(before) = &change.before {
            assert_eq!(self.0.remove(&before.uid).as_ref(), Some(before), "{change:?}");
        }
        if let Some(after) = &change.after {
            let double = self.0.insert(after.uid.clone(), after.clone());
            assert_eq!(double, None, "{change:?}");
        }
    }

    /// That this is what is registered, in whatever order.
    pub fn assert_is(&self, registered: Vec<proto::Assignment>) {
        let registered: BTreeMap<_, _> =
            registered.into_iter().map(|assignment| (assignment.uid.clone(), assignment)).collect();
        assert_eq!(self.0, registered);
    }
}

/// What comes of it, if it comes within a minute.
pub async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_mins(1), work).await.unwrap()
}

/// Chance that is the same in each run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 - `sides - 1`.
    pub fn roll(&mut self, sides: u32) -> u32 {
        // Knuth's MMIX; its upper half is random enough for tests.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(sides)) as u32
    }
}

/// Lets a registration pass whatever can be acknowledged.
pub fn whatever(request: proto::RegisterPortRequest) -> proto::RegisterPortRequest {
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

/// The code and the details of a refusal, which all have an `ErrorInfo` of our domain.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String, ErrorDetails) {
    let status = answer.unwrap_err();
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "portbook");
    (status.code(), info.reason.clone(), details)
}

/// That the answer is this refusal; its facts.
pub fn denied<T: std::fmt::Debug>(
    answer: Result<T, Status>,
    code: Code,
    reason: &str,
) -> HashMap<String, String> {
    let (told, why, details) = refused(answer);
    assert_eq!((told, why.as_str()), (code, reason));
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
