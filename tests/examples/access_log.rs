//! The example `access_log`.

use crate::process::Process;

#[tokio::test]
async fn access_log_tells_of_every_kind_of_end() {
    let mut example = Process::start("access_log", &[]);
    for line in [
        [
            "id=\"1\" method=GET path=\"/whole\" status=200 outcome=complete bytes=13",
            "first_byte=",
        ],
        [
            "id=\"2\" method=HEAD path=\"/whole\" status=200 outcome=complete bytes=0",
            "duration=",
        ],
        [
            "id=\"3\" method=GET path=\"/endless\" status=200 outcome=disconnected bytes=11",
            "first_byte=",
        ],
        [
            "id=\"4\" method=GET path=\"/breaks\" status=200 outcome=body_error bytes=11",
            "first_byte=",
        ],
        [
            "id=\"5\" method=GET path=\"/slow\" outcome=cancelled bytes=0",
            "duration=",
        ],
        [
            "id=\"6\" method=GET path=\"/panics\" outcome=panicked bytes=0",
            "duration=",
        ],
    ] {
        example.line(&line).await;
    }
    let (status, rest) = example.end().await;
    assert!(status.success(), "{status}: {rest}");
}
