//! What people have (files of any make, configurations of other clients, a shell) is taken as it is, or refused in a sentence that
//! names what is not.

use std::{fs, path::Path};

use gapless_tests::{broker::Broker, cli::run, process::Ended};

/// It ended with this code and its complaint holds all of these.
fn assert_ended(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "{word:?} is not in {:?}", ended.stderr);
    }
}

fn file(folder: &Path, name: &str, content: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("a file can be written");
    path.to_str().expect("its name is text").to_owned()
}

#[test]
fn shells_are_told_the_flags_and_man_shows_them() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(["completions", shell]);
        assert_ended(&ended, 0, &[]);
        for word in ["publish", "key-field", "delivery-timeout"] {
            assert!(ended.stdout.contains(word), "{shell} does not know {word}");
        }
    }
    assert_ended(&run(["completions", "csh"]), 2, &["csh", "zsh"]);
    let page = run(["man", "publish"]);
    assert_ended(&page, 0, &[]);
    assert!(page.stdout.contains(".TH") && page.stdout.contains(r"\-\-key\-field"), "{page:?}");
    assert_ended(&run(["man", "conquer"]), 2, &["no command 'conquer'"]);
    let folder = tempfile::tempdir().unwrap();
    assert_ended(&run(["man", "--dir", folder.path().to_str().unwrap()]), 0, &[]);
    for name in ["gapless-producer.1", "gapless-producer-publish.1", "gapless-producer-topic-create.1"] {
        assert!(folder.path().join(name).is_file(), "{name} is missing");
    }
    assert_ended(&run(["man", "--dir", "/dev/null/nowhere"]), 1, &["--dir /dev/null/nowhere"]);
}

#[test]
fn files_of_properties_are_those_of_java_and_librdkafka() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start();
    let input = file(folder.path(), "input", b"one\n");
    let publish = |properties: &str| {
        let path = file(folder.path(), "client.properties", properties.as_bytes());
        run(["publish", "--topic", "lines", "--quiet", "--command-config", &path, &input])
    };
    let address = broker.address();
    let (host, port) = address.split_once(':').unwrap();
    for properties in [
        format!("bootstrap.servers={address}\n"),
        format!(
            "# a comment\n! another\n\nbootstrap.servers : \\\n    {address}\nacks = all\n\
             key.serializer=org.apache.kafka.common.serialization.StringSerializer\ncompression.type=zstd\n"
        ),
        format!(
            "metadata.broker.list={host}\\:{port}\nrequest.required.acks -1\nqueue.buffering.max.ms=0.5\n"
        ),
    ] {
        assert_ended(&publish(&properties), 0, &[]);
    }
    for (properties, words) in [
        ("security.protocol=SSL", &["client.properties:1", "security.protocol", "TLS"][..]),
        ("acks=all\n\nssl.truststore.password=hunter2", &["client.properties:3", "ssl.truststore.password"]),
        ("sasl.jaas.config=hunter2", &["client.properties:1", "sasl.jaas.config", "SASL"]),
        ("interceptor.classes=a.B", &["interceptor.classes", "no counterpart"]),
        ("acks=some", &["client.properties:1", "acks is 'some'"]),
        ("hunter2", &["client.properties:1"]),
    ] {
        let ended = publish(&format!("{properties}\n"));
        assert_ended(&ended, 2, words);
        assert!(properties == "hunter2" || !ended.stderr.contains("hunter2"), "a secret is told: {ended:?}");
    }
}
