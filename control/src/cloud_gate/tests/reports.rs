//! Reports over real connections.

use super::*;

#[tokio::test]
async fn reports_are_on_file_when_they_are_acknowledged_and_written_once() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let gate = Running::start(Transport::Generated, true).await;
    let authorization = format!("Bearer {}", gate.token);
    let gzip = |text: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("written");
        encoder.finish().expect("compressed")
    };
    let auth = (AUTHORIZATION.as_str(), authorization.as_str());
    let encoding = (CONTENT_ENCODING.as_str(), "gzip");
    let batch = ("x-gravitee-batch-id", "b1");
    for _ in 0..2 {
        let answer = gate
            .send(
                "POST",
                "/reports",
                &[auth, encoding, batch],
                gzip(b"{\"a\":1}\n{\"a\":2}\n"),
            )
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(
        gate.send("POST", "/reports", &[auth], "{\"a\":3}")
            .await
            .status(),
        StatusCode::OK
    );
    let on_file: String = std::fs::read_dir(gate.reports())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ndjson")
        })
        .map(|path| std::fs::read_to_string(path).expect("a file"))
        .collect();
    assert_eq!(on_file, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");

    for (headers, body, expected) in [
        (vec![auth], b"garbage".to_vec(), StatusCode::BAD_REQUEST),
        (
            vec![auth, encoding],
            b"garbage".to_vec(),
            StatusCode::BAD_REQUEST,
        ),
        (
            vec![auth, ("content-encoding", "br")],
            b"{}".to_vec(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            vec![auth, encoding],
            gzip(&vec![b' '; (16 << 20) + 1]),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
    ] {
        assert_eq!(
            gate.send("POST", "/reports", &headers, body).await.status(),
            expected
        );
    }
    let status: Value =
        serde_json::from_slice(gate.send("GET", "/_gate/status", &[], "").await.body())
            .expect("JSON");
    assert_eq!(
        (
            &status["reports"]["received"],
            &status["reports"]["duplicates"]
        ),
        (&json!(3), &json!(2))
    );
    gate.stop().await;
}

#[tokio::test]
async fn our_reporter_delivers_a_batch_once_however_often_it_tries() {
    use crate::report::{Batch, CloudSink, Delivery, Sink as _};
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    use std::sync::Arc;

    let gate = Running::start(Transport::Generated, true).await;
    let sink = |token: &str| {
        let token = turnpike_config::Secret::new(token);
        CloudSink::new(
            &format!("{}/reports", gate.url),
            Arc::new(move || token.clone()),
            "turnpike",
            Arc::new(gate.client.clone()),
        )
        .expect("a sink")
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(b"{\"type\":\"v4-metrics\"}\n{\"type\":\"v4-log\"}\n")
        .expect("written");
    let batch = Batch {
        id: uuid::Uuid::new_v4(),
        records: 2,
        body: encoder.finish().expect("compressed").into(),
    };
    for _ in 0..2 {
        let delivery = sink(&gate.token).deliver(&batch).await;
        assert!(matches!(delivery, Delivery::Accepted), "{delivery:?}");
    }
    let delivery = sink("a.b.c").deliver(&batch).await;
    assert!(
        matches!(delivery, Delivery::Unauthorized { status: 401 }),
        "{delivery:?}"
    );
    let answer = gate.send("GET", "/_gate/status", &[], "").await;
    let status: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(status["reports"]["received"], 2);
    assert_eq!(status["reports"]["duplicateBatches"], 1);
    gate.stop().await;
}
