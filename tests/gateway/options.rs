//! The command line: each wrong option is answered with what is right.

use tokio::net::TcpListener;

use crate::{ANY_PORTS, Gateway, process::Process};

#[tokio::test]
async fn help_tells_what_each_option_is_for() {
    let (status, help) = Process::start("gateway", &["--help"]).end().await;
    assert!(status.success(), "{help}");
    for told in [
        "A reverse proxy for streams",
        "--listen <ADDR>",
        "[default: 127.0.0.1:8080]",
        "--admin <ADDR>",
        "[default: 127.0.0.1:9090]",
        "--upstream <URL>",
        "[default: an embedded LLM-like demo]",
        "--upstream-h2",
        "--allow-connect <HOST:PORT>",
        "--trust-forwarded",
        "--service <NAME>",
        "[default: gateway]",
        "--keep-alive <SECONDS>",
        "[default: 15]",
        "--drain <SECONDS>",
        "[default: 10]",
        "--connect-timeout <SECONDS>",
        "[default: 5]",
        "--header-timeout <SECONDS>",
        "[default: 300]",
        "--client-timeout <SECONDS>",
        "[default: 30]",
        "--max-connections <N>",
        "[default: no limit]",
    ] {
        assert!(help.contains(told), "{told}: {help}");
    }
    for hidden in ["--bare", "--demo-token"] {
        assert!(
            !help.contains(hidden),
            "only for measuring and tests: {help}"
        );
    }
    let too_long = help.lines().find(|line| line.chars().count() > 100);
    assert_eq!(too_long, None);
}

const SECONDS: &str = "give seconds above 0, such as 15 or 0.5";
const HOST_AND_PORT: &str = "give it as HOST:PORT, such as db.example:5432";
const NAME: &str = "give a letter, then letters, digits, '-', '_' or '.', such as edge-1";
const URL: &str = "give it as http://HOST[:PORT] or https://HOST[:PORT]";

#[tokio::test]
async fn a_wrong_option_is_answered_with_what_is_right() {
    let wrong: [(&[&str], &str); 29] = [
        (&["--keep-alive=0"], SECONDS),
        (&["--keep-alive=1e-10"], SECONDS),
        (&["--drain=-1"], SECONDS),
        (&["--drain=soon"], SECONDS),
        (&["--connect-timeout=NaN"], SECONDS),
        (&["--header-timeout=1e300"], SECONDS),
        (&["--header-timeout="], SECONDS),
        (&["--allow-connect=db.example"], HOST_AND_PORT),
        (&["--allow-connect=db.example:"], HOST_AND_PORT),
        (&["--allow-connect=:5432"], HOST_AND_PORT),
        (&["--allow-connect=db.example:65536"], HOST_AND_PORT),
        (&["--allow-connect=me@db.example:5432"], HOST_AND_PORT),
        (&["--allow-connect=http://db.example:5432"], HOST_AND_PORT),
        (&["--service="], NAME),
        (&["--service=two words"], NAME),
        (&["--service=1st"], NAME),
        (&["--service=a,b"], NAME),
        (&["--upstream=a.example"], URL),
        (&["--upstream=a.example:80"], URL),
        (&["--upstream=http://"], URL),
        (&["--upstream=http://:80"], URL),
        (&["--upstream=http://a.example:65536"], URL),
        (&["--upstream=http://a.example/path"], URL),
        (&["--upstream=http://a.example?query"], URL),
        (&["--upstream=http://me@a.example"], URL),
        (&["--upstream=http://[::1"], URL),
        (
            &["--upstream=ws://a.example"],
            "ws is not spoken to upstreams",
        ),
        (
            &["--upstream=https://a.example", "--upstream-h2"],
            "--upstream-h2 is for http://: over https:// the protocol is negotiated",
        ),
        (&["--max-connections=0"], "give a number above 0"),
    ];
    for (arguments, right) in wrong {
        let arguments = [&ANY_PORTS, arguments].concat();
        let (status, said) = Process::start("gateway", &arguments).end().await;
        assert_eq!(status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(right), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_told_with_its_option() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    for (option, other) in [("--listen", "--admin"), ("--admin", "--listen")] {
        for address in [taken.0.as_str(), "nowhere"] {
            let arguments = [option, address, other, "127.0.0.1:0"];
            let (status, said) = Process::start("gateway", &arguments).end().await;
            assert_eq!(status.code(), Some(1), "{arguments:?}: {said}");
            assert!(
                said.contains(&format!("cannot listen on {address}: ")),
                "{said}"
            );
            let hint = format!("(choose another with {option} HOST:PORT)");
            assert!(said.contains(&hint), "{said}");
        }
    }
}

#[tokio::test]
async fn an_upstream_may_be_written_in_many_ways() {
    for (written, told) in [
        ("http://a.example", "http://a.example"),
        ("HTTP://a.example/", "http://a.example"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://[::1]:3000/", "https://[::1]:3000"),
    ] {
        let mut process = Process::start(
            "gateway",
            &[&ANY_PORTS, &["--upstream", written][..]].concat(),
        );
        process.line(&[&format!("upstream  {told}")]).await;
    }
}

#[tokio::test]
async fn it_tells_where_it_serves_and_what_to_try() {
    let mut gateway = Gateway::start().await;
    for told in [
        "(the embedded demo)",
        &format!("curl -N {}", gateway.chat()),
        &format!("curl -s {}/metrics", gateway.admin),
    ] {
        gateway.process.line(&[told]).await;
    }
}
