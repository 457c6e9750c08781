//! A sample of the host and process as the document that the analytics index stores (contract reporting 2.6).

use serde_json::{Map, Value, json};

use crate::node::MonitorSample;

/// The document of `sample`; `timestamp` and `date` are its moment as text.
pub(crate) fn document(
    sample: &MonitorSample,
    gateway: &str,
    hostname: &str,
    timestamp: &str,
    date: &str,
) -> Value {
    let MonitorSample { os, jvm, process } = sample;
    let averages = ["1m", "5m", "15m"].into_iter().zip(os.cpu.load_average);
    let load_average: Map<String, Value> = averages
        .filter(|(_, value)| *value >= 0.0)
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let pools: Map<String, Value> = jvm
        .mem
        .pools
        .iter()
        .map(|pool| {
            let figures = json!({
                "used_in_bytes": pool.used,
                "max_in_bytes": pool.max,
                "peak_used_in_bytes": pool.peak_used,
                "peak_max_in_bytes": pool.peak_max,
            });
            (pool.name.to_string(), figures)
        })
        .collect();
    let collectors: Map<String, Value> = jvm
        .gc
        .collectors
        .iter()
        .map(|collector| {
            let figures = json!({
                "collection_count": collector.collection_count,
                "collection_time_in_millis": collector.collection_time,
            });
            (collector.name.to_string(), figures)
        })
        .collect();
    let os = json!({
        "cpu": { "percent": os.cpu.percent, "load_average": load_average },
        "mem": {
            "total_in_bytes": os.mem.total,
            "free_in_bytes": os.mem.free,
            "used_in_bytes": os.mem.used,
            "free_percent": os.mem.free_percent,
            "used_percent": os.mem.used_percent,
        },
    });
    let process = json!({
        "timestamp": process.timestamp,
        "open_file_descriptors": process.open_file_descriptors,
        "max_file_descriptors": process.max_file_descriptors,
        "cpu": { "percent": process.cpu.percent },
    });
    let memory = json!({
        "heap_used_in_bytes": jvm.mem.heap_used,
        "heap_used_percent": jvm.mem.heap_used_percent,
        "heap_committed_in_bytes": jvm.mem.heap_committed,
        "heap_max_in_bytes": jvm.mem.heap_max,
        "non_heap_used_in_bytes": jvm.mem.non_heap_used,
        "non_heap_committed_in_bytes": jvm.mem.non_heap_committed,
        "pools": pools,
    });
    let jvm = json!({
        "timestamp": jvm.timestamp,
        "uptime_in_millis": jvm.uptime,
        "mem": memory,
        "threads": { "count": jvm.threads.count, "peak_count": jvm.threads.peak_count },
        "gc": { "collectors": collectors },
    });
    json!({
        "@timestamp": timestamp,
        "type": "monitor",
        "date": date,
        "os": os,
        "process": process,
        "jvm": jvm,
        "gateway": gateway,
        "hostname": hostname,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_equals_the_published_sample_when_it_is_there() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/contracts/samples/reporting/formats.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: no samples at {}", path.display());
            return;
        };
        let file: Value = serde_json::from_str(&text).expect("JSON");
        let samples = file["samples"].as_array().expect("a list");
        let node = samples
            .iter()
            .find(|sample| sample["kind"] == "node")
            .expect("a sample of a node");
        let given: MonitorSample = serde_json::from_value(node["given"].clone()).expect("a sample");
        let expected = &node["elasticsearch"];
        let text = |name: &str| expected[name].as_str().expect("text");
        let ours = document(
            &given,
            text("gateway"),
            text("hostname"),
            text("@timestamp"),
            text("date"),
        );
        assert_eq!(&ours, expected);
    }

    #[test]
    fn a_load_average_that_is_not_known_is_left_out() {
        let mut sample = MonitorSample::default();
        sample.os.cpu.load_average = [0.0, -1.0, 2.5];
        let document = document(
            &sample,
            "node-1",
            "gw-1",
            "2026-01-02T03:04:05.678Z",
            "2026.01.02",
        );
        assert_eq!(
            document["os"]["cpu"]["load_average"],
            json!({ "1m": 0.0, "15m": 2.5 })
        );
        assert_eq!(
            (&document["gateway"], &document["hostname"]),
            (&json!("node-1"), &json!("gw-1"))
        );
        assert_eq!(
            document["jvm"]["gc"]["collectors"]["old"]["collection_count"],
            0
        );
        assert_eq!(
            document.get("_id"),
            None,
            "the index makes its own ids for these"
        );
    }
}
