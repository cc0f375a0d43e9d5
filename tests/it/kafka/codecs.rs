//! Whatever compression a sender or a topic chooses is read.

use rdkafka::ClientConfig;
use session_worker::kafka::Consumer;

use super::support::{Lanes, bootstrap, settings, take, topic, unique, values, write, write_by};

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

#[tokio::test(flavor = "multi_thread")]
async fn a8_every_compression_of_senders_and_topics_is_read() {
    for codec in CODECS {
        let by_topic = topic(codec, 1, &[("compression.type", codec)]).await;
        write(&by_topic, 0, 0..500).await;
        let by_sender = topic(codec, 1, &[]).await;
        let mut sender = ClientConfig::new();
        sender
            .set("bootstrap.servers", bootstrap())
            .set("compression.type", codec)
            .set("linger.ms", "20");
        write_by(&sender, &by_sender, 0, 0..500).await;

        let (lanes, mut logs) = Lanes::new();
        let _consumer = Consumer::start(
            &settings(&unique("group")),
            &[&by_topic, &by_sender],
            lanes as _,
        )
        .await
        .expect("it starts");
        for (lane, mut log) in logs.next(2).await {
            let found = take(&mut log, 500).await;
            assert_eq!(
                values(&found),
                (0..500).collect::<Vec<_>>(),
                "{codec} {lane}"
            );
        }
    }
}
