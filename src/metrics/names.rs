//! The names of the metrics, and buckets that fit them.

/// Counter: requests by status, counted as soon as the status is known. Labels: the base labels
/// and `status`.
pub const REQUESTS_TOTAL: &str = "http_requests_total";

/// Gauge: exchanges that are not over. Labels: the base labels.
pub const REQUESTS_IN_FLIGHT: &str = "http_requests_in_flight";

/// Histogram, in seconds: from the call of the service to its response head. Labels: the base
/// labels and `kind`.
pub const RESPONSE_HEAD_SECONDS: &str = "http_response_head_seconds";

/// Histogram, in seconds: from the call of the service to the end of the exchange. Labels: the
/// base labels and `kind`.
pub const REQUEST_DURATION_SECONDS: &str = "http_request_duration_seconds";

/// Histogram, in bytes: what the response body handed to the server. Labels: the base labels and
/// `kind`.
pub const RESPONSE_BODY_BYTES: &str = "http_response_body_bytes";

/// Counter: exchanges that are over. Labels: the base labels, `status` and `outcome`.
pub const RESPONSES_ENDED_TOTAL: &str = "http_responses_ended_total";

/// Buckets for [`RESPONSE_HEAD_SECONDS`]: 1 ms to 30 s.
pub const HEAD_SECONDS_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Buckets for [`REQUEST_DURATION_SECONDS`], where a stream may last: 1 ms to an hour.
pub const DURATION_SECONDS_BUCKETS: [f64; 16] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0,
    3600.0,
];

/// Buckets for [`RESPONSE_BODY_BYTES`]: 256 B to 64 MiB.
pub const BODY_BYTES_BUCKETS: [f64; 10] = [
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
