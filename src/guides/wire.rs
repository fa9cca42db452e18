// What the examples of the guides share: not a part of the crate.

/// What hyper writes on an HTTP/1.1 connection, without the fields that say nothing here.
#[allow(dead_code, reason = "not every example looks at the wire")]
async fn on_the_wire<B>(response: http::Response<B>) -> String
where
    B: http_body::Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (mut client, server) = tokio::io::duplex(4096);
    let request = "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let response = std::cell::Cell::new(Some(response));
    let service = hyper::service::service_fn(|_| {
        std::future::ready(Ok::<_, std::convert::Infallible>(response.take().unwrap()))
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(hyper_util::rt::TokioIo::new(server), service)
        .await;
    let mut written = String::new();
    client.read_to_string(&mut written).await.unwrap();
    written.replace("connection: close\r\n", "")
}
