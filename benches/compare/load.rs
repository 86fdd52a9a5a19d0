//! A load generator for gRPC calls with different messages, which h2load does not support. Reads encoded
//! messages from a file, keeps a number of calls in flight, and prints calls, duration, latencies and
//! statuses as JSON.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// The flow-control windows of the connections.
const WINDOW: u32 = 1 << 24;

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
struct Args {
    /// Address and port of the server
    address: String,
    /// The method, such as /grpc.health.v1.Health/Check
    path: String,
    /// The messages, each with its 5-byte gRPC prefix
    messages: PathBuf,
    /// Number of connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Number of concurrent calls of each connection
    #[arg(long, default_value_t = 16)]
    streams: usize,
    /// Number of calls; the messages are repeated. Default: each message once
    #[arg(long)]
    calls: Option<u32>,
    /// Calls to start per second; the latency of a late call counts from when it was due. Default: the
    /// next call starts when another completes
    #[arg(long)]
    rate: Option<f64>,
    /// Start no more calls after this many seconds
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Value of the header `authorization`
    #[arg(long)]
    authorization: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let messages = split(std::fs::read(&args.messages)?.into())?;
    let plan = Arc::new(Plan {
        head: head(&args)?,
        calls: args.calls.map_or_else(|| messages.len().try_into(), Ok)?,
        messages,
        next: AtomicU32::new(0),
        began: Instant::now(),
        ends: Instant::now() + Duration::from_secs_f64(args.seconds),
        every: args.rate.map(|rate| Duration::from_secs_f64(1.0 / rate)),
    });
    let mut workers = JoinSet::new();
    for _ in 0..args.connections {
        let connection = connect(&args.address).await?;
        for _ in 0..args.streams {
            workers.spawn(work(plan.clone(), connection.clone()));
        }
    }
    let mut results = Results::default();
    while let Some(worker) = workers.join_next().await {
        results.add(worker??);
    }
    println!("{}", results.report(plan.began.elapsed()));
    Ok(())
}

/// The plan shared by the workers.
struct Plan {
    head: Request<()>,
    messages: Vec<Bytes>,
    calls: u32,
    next: AtomicU32,
    began: Instant,
    ends: Instant,
    every: Option<Duration>,
}

impl Plan {
    /// The next call: when it is due, and its message.
    fn next_call(&self) -> Option<(Instant, Bytes)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = match self.every {
            Some(every) => self.began + every * number,
            None => Instant::now(),
        };
        (number < self.calls && due < self.ends)
            .then(|| (due, self.messages[number as usize % self.messages.len()].clone()))
    }
}

/// The results of the calls.
#[derive(Default)]
struct Results {
    microseconds: Vec<u64>,
    statuses: BTreeMap<String, usize>,
}

impl Results {
    fn add(&mut self, other: Self) {
        self.microseconds.extend(other.microseconds);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn report(mut self, took: Duration) -> serde_json::Value {
        self.microseconds.sort_unstable();
        let last = self.microseconds.len().saturating_sub(1);
        let at = |percent: usize| self.microseconds.get(last * percent / 100);
        serde_json::json!({
            "calls": self.microseconds.len(),
            "seconds": took.as_secs_f64(),
            "p50_us": at(50),
            "p99_us": at(99),
            "max_us": at(100),
            "statuses": self.statuses,
        })
    }
}

fn split(mut file: Bytes) -> Result<Vec<Bytes>, BoxError> {
    let mut messages = Vec::new();
    while let Some(prefix) = file.first_chunk::<5>() {
        let [_, length @ ..] = *prefix;
        let frame_length = 5 + u32::from_be_bytes(length) as usize;
        if file.len() < frame_length {
            break;
        }
        messages.push(file.split_to(frame_length));
    }
    if messages.is_empty() || !file.is_empty() {
        return Err("the file does not consist of complete messages".into());
    }
    Ok(messages)
}

fn head(args: &Args) -> Result<Request<()>, BoxError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{}{}", args.address, args.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(authorization) = &args.authorization {
        request = request.header("authorization", authorization);
    }
    Ok(request.body(())?)
}

async fn connect(address: &str) -> Result<SendRequest<Bytes>, BoxError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await?;
    // If the connection fails, its calls fail.
    tokio::spawn(connection);
    Ok(sender)
}

async fn work(plan: Arc<Plan>, mut connection: SendRequest<Bytes>) -> Result<Results, BoxError> {
    let mut results = Results::default();
    while let Some((due, message)) = plan.next_call() {
        let began = if due > Instant::now() {
            sleep_until(due).await;
            Instant::now()
        } else {
            due
        };
        connection = connection.ready().await?;
        let (response, mut request) = connection.send_request(plan.head.clone(), false)?;
        request.send_data(message, true)?;
        let (head, body) = response.await?.into_parts();
        let trailers = read(body).await?;
        let status = trailers.as_ref().unwrap_or(&head.headers).get("grpc-status");
        let status =
            status.map_or("none".into(), |value| String::from_utf8_lossy(value.as_bytes()));
        results.microseconds.push(began.elapsed().as_micros() as u64);
        *results.statuses.entry(status.into_owned()).or_default() += 1;
    }
    Ok(results)
}

/// Reads the complete response. Returns its trailers.
async fn read(mut body: RecvStream) -> Result<Option<HeaderMap>, h2::Error> {
    while let Some(part) = body.data().await {
        let length = part?.len();
        body.flow_control().release_capacity(length)?;
    }
    body.trailers().await
}
