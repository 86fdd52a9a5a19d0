//! A server to tell stories to: the real binary, on a free port, with a database of its own that
//! goes when the test ends.

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
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub const TOKEN: &str = "pbk_the-admin-token-of-the-tests";
/// A port that neither IANA nor everyday use has a word for; so are the nine after it.
pub const FREE: u32 = 7450;

pub struct Server {
    child: Option<Child>,
    folder: TempDir,
    pub address: String,
    pub ready_line: String,
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
        }
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("portbook.db")
    }

    /// Starts the server on the database as it was left.
    pub fn launch(&mut self) {
        let mut child = serve(&self.database()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
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
    pub fn signal(&mut self, signal: &str) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        child.wait().unwrap()
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
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--database"])
        .arg(database)
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
