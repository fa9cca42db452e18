use tower_passthrough::{capture::*, conformance, headers::HeadersLayer, metrics::MetricsLayer};
#[test]
fn ours() {
    let r = conformance::check(CaptureLayer::new(|_: &Summary| {}));
    println!("{r}");
    for i in 0..5 {
        let t = std::time::Instant::now();
        conformance::check(HeadersLayer::sse()).assert();
        conformance::check(tower::layer::util::Identity::new()).assert();
        println!("{i} {:?}", t.elapsed());
    }
    conformance::check(MetricsLayer::builder().build().unwrap()).assert();
    conformance::check((
        MetricsLayer::builder().build().unwrap(),
        HeadersLayer::sse(),
    ))
    .assert();
    r.assert();
}
