//! A web server that handles its requests in worker processes: `web [ADDRESS]`. It answers 500 if a
//! request crashes its worker, 504 if a request takes too long, and 503 if too many are unfinished.
#![allow(clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pool::{Context, Failed, Outcome, Pool, SubmitError, Work};
use tokio::net::TcpListener;

/// Renders the page at a path.
struct Render;

impl Work for Render {
    type Setup = ();
    type Job = String;
    type Output = String;

    fn start((): ()) -> Result<Self, Failed> {
        Ok(Self)
    }

    fn run(&mut self, path: String, _: &Context) -> Result<String, Failed> {
        match path.as_str() {
            "/crash" => std::process::abort(),
            "/hang" => loop {
                std::thread::park();
            },
            "/missing" => Err(Failed::new("there is no such page")),
            path => Ok(format!("<h1>{path}</h1>\n")),
        }
    }
}

async fn answer(pool: &Pool<Render>, path: &str) -> (StatusCode, String) {
    // An event loop must not block.
    let handle = match pool.try_submit(path.to_owned()) {
        Ok(handle) => handle,
        Err(SubmitError::Full) => return (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    match handle.await {
        Outcome::Done(page) => (StatusCode::OK, page),
        Outcome::Failed(failed) => (StatusCode::NOT_FOUND, failed.to_string()),
        Outcome::DeadlineExceeded(_) => (StatusCode::GATEWAY_TIMEOUT, String::new()),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
    }
}

async fn serve(address: &str, pool: Arc<Pool<Render>>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let pool = Arc::clone(&pool);
        let service = service_fn(move |request: Request<Incoming>| {
            let pool = Arc::clone(&pool);
            async move {
                let (status, body) = answer(&pool, request.uri().path()).await;
                let mut response = Response::new(body);
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    pool::init::<Render>();
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let builder = Pool::<Render>::builder(()).on_line(|_| {});
    let pool = builder.deadline(Duration::from_secs(2)).start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(serve(address, Arc::new(pool)))?)
}
