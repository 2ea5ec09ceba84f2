//! Names of types, classes, codes and options, as registries have them.

use super::*;
use crate::dns::{iana, message::DnsMessage};

/// Returns the lines that a message with this record in its answer section shows of it.
fn shown(kind: u16, class: u16, data: &[u8]) -> String {
    let bytes =
        message(7, 0x8000, &question("a.test", kind), [&[record("a.test", kind, class, data)], &[], &[]]);
    let (payload, truncated) = DnsMessage::read(&bytes, 100_000).unwrap().text(100_000);
    assert!(!truncated);
    let text = text(&payload);
    text.lines().last().unwrap().strip_prefix("answer a.test 60 ").unwrap().to_owned()
}

#[test]
fn numbers_without_a_name_are_written_as_numbers() {
    let types =
        [(33, "SRV"), (65, "HTTPS"), (66, "DSYNC"), (99, "SPF"), (128, "NXNAME"), (255, "ANY"), (264, "IPN")];
    for (number, name) in
        types.into_iter().chain([(32768, "TA"), (0, "TYPE0"), (54, "TYPE54"), (65535, "TYPE65535")])
    {
        assert_eq!(iana::type_name(number), name);
    }
    for (number, name) in [(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY"), (2, "CLASS2")] {
        assert_eq!(iana::class_name(number), name);
    }
    for (number, name) in [(0, "QUERY"), (6, "DSO"), (3, "OPCODE3"), (15, "OPCODE15")] {
        assert_eq!(iana::opcode_name(number), name);
    }
    for (number, name) in
        [(6, "YXDOMAIN"), (16, "BADVERS"), (23, "BADCOOKIE"), (12, "RCODE12"), (4095, "RCODE4095")]
    {
        assert_eq!(iana::rcode_name(number), name);
    }
}

#[test]
fn every_type_that_is_named_reads_any_data_or_shows_it_raw() {
    let bytes: Vec<u8> = (0..=255).collect();
    for kind in 0..=300_u16 {
        for class in [1, 3] {
            for length in 0..40 {
                for start in [0, 5, 64, 192] {
                    let data = &bytes[start..start + length];
                    let line = if kind == 41 { String::new() } else { shown(kind, class, data) };
                    assert!(!line.contains('\n'), "{line}");
                    assert!(line.is_ascii() && line.bytes().all(|byte| byte >= b' '), "{line}");
                }
            }
        }
    }
}

#[test]
fn data_that_does_not_fit_its_type_is_shown_raw() {
    for (kind, data) in [
        (1, &b"\x01\x02\x03"[..]),
        (1, b"\x01\x02\x03\x04\x05"),
        (28, b"\x01\x02\x03\x04"),
        (15, b"\x00"),
        (16, b"\x05abc"),
        (16, b""),
        (29, b"\x01\x12\x16\x13\x8b\x0d\x2d\x8c\x7f\xf8\xfc\xa5\x00\x98\x8d\x60"),
        (47, b"\x00\x00\x00"),
        (65, b"\x00\x01\x00\x00\x03\x00\x02\x01"),
        // Parameters out of order.
        (65, b"\x00\x01\x00\x00\x03\x00\x02\x01\xbb\x00\x01\x00\x03\x02h2"),
        (257, b"\x00\x05iss e"),
    ] {
        let digits: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
        let digits = digits.concat();
        let want = format!("{} \\# {} {digits}", iana::type_name(kind), data.len());
        assert_eq!(shown(kind, 1, data), want.trim_end());
    }
}

#[test]
fn the_meaning_of_data_depends_on_the_class() {
    assert_eq!(shown(1, 1, &[192, 0, 2, 1]), "A 192.0.2.1");
    assert_eq!(shown(1, 4, &[192, 0, 2, 1]), "HS A \\# 4 c0000201");
    assert_eq!(shown(1, 3, b"\x02ch\x00\x0f\xff"), "CH A ch 7777");
    assert_eq!(shown(16, 3, b"\x02hi"), "CH TXT \"hi\"");
    assert_eq!(shown(16, 2, b"\x02hi"), "CLASS2 TXT \"hi\"");
}

/// The examples of RFC 9460, appendix D.
#[test]
fn service_bindings_are_written_as_the_standard_does() {
    let vectors: [(&[u8], &str); 10] = [
        (b"\x00\x00\x03foo\x07example\x03com\x00", "0 foo.example.com"),
        (b"\x00\x01\x00", "1 ."),
        (b"\x00\x10\x03foo\x07example\x03com\x00\x00\x03\x00\x02\x00\x35", "16 foo.example.com port=53"),
        (b"\x00\x01\x00\x02\x9b\x00\x05hello", "1 . key667=\"hello\""),
        (b"\x00\x01\x00\x02\x9b\x00\x09hello\xd2qoo", "1 . key667=\"hello\\210qoo\""),
        (
            b"\x00\x01\x00\x00\x06\x00\x20\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\x53\0\x01",
            "1 . ipv6hint=2001:db8::1,2001:db8::53:1",
        ),
        (
            b"\x00\x10\x00\x00\x00\x00\x04\x00\x01\x00\x04\x00\x01\x00\x09\x02h2\x05h3-19\x00\x04\x00\x04\xc0\x00\x02\x01",
            "16 . mandatory=alpn,ipv4hint alpn=\"h2,h3-19\" ipv4hint=192.0.2.1",
        ),
        (b"\x00\x10\x00\x00\x01\x00\x0c\x08f\\oo,bar\x02h2", "16 . alpn=\"f\\\\\\\\oo\\\\,bar,h2\""),
        (b"\x00\x01\x00\x00\x01\x00\x03\x02h3\x00\x02\x00\x00\xff\xfe\x00\x00", "1 . alpn=\"h3\" no-default-alpn key65534"),
        // A port of three bytes, a list that is cut.
        (b"\x00\x01\x00\x00\x01\x00\x02\x05h\x00\x03\x00\x03abc", "1 . key1=\"\\005h\" key3=\"abc\""),
    ];
    for (data, text) in vectors {
        assert_eq!(shown(64, 1, data), format!("SVCB {text}"));
        assert_eq!(shown(65, 1, data), format!("HTTPS {text}"));
    }
}

#[test]
fn signatures_of_messages_are_written() {
    let data =
        [name("hmac-sha256"), vec![0, 0, 0x65, 0x53, 0xf1, 0, 1, 44, 0, 3, 1, 2, 3, 0, 7, 0, 16, 0, 0]];
    assert_eq!(shown(250, 255, &data.concat()), "ANY TSIG hmac-sha256 1700000000 300 3 AQID 7 BADSIG 0");
}

#[test]
fn extensions_are_written_in_the_words_of_dig() {
    let options: [(u16, &[u8], &str); 16] = [
        (3, b"", "NSID"),
        (3, b"gpdns-fra", "NSID: 6770646e732d667261 (\"gpdns-fra\")"),
        (8, b"\x00\x01\x18\x00\xc0\x00\x02", "CLIENT-SUBNET: 192.0.2.0/24/0"),
        (8, b"\x00\x02\x38\x30\x20\x01\x0d\xb8\x00\x00\x01", "CLIENT-SUBNET: 2001:db8:0:100::/56/48"),
        (8, b"\x00\x00\x00\x00", "CLIENT-SUBNET: 0/0/0"),
        (8, b"\x00\x09\x00\x00", "CLIENT-SUBNET: 00090000"),
        (9, b"\x00\x01\x51\x80", "EXPIRE: 86400"),
        (10, b"\x01\x02\x03\x04\x05\x06\x07\x08", "COOKIE: 0102030405060708"),
        (11, b"", "TCP-KEEPALIVE"),
        (11, b"\x01\x2d", "TCP-KEEPALIVE: 30.1 secs"),
        (12, &[0; 40], "PAD: (40 bytes)"),
        (14, b"\x4a\x5c\x00\x01", "KEY-TAG: 19036, 1"),
        (15, b"\x00\x12", "EDE: 18 (Prohibited)"),
        (15, b"\x00\x16at \"x\"", "EDE: 22 (No Reachable Authority): (\"at \\\"x\\\"\")"),
        (18, b"\x05agent\x04test\x00", "REPORT-CHANNEL: agent.test"),
        (65001, b"\xab", "OPT=65001: ab"),
    ];
    for (code, value, shown) in options {
        let length = u16::try_from(value.len()).unwrap();
        let data = [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat();
        let mut opt = record("", 41, 1232, &data);
        opt[5..9].copy_from_slice(&[1, 0, 0x80, 0]);
        let bytes = message(7, 0x8005, &question("a.test", 1), [&[], &[], &[opt]]);
        let message = DnsMessage::read(&bytes, 1000).unwrap();
        assert_eq!(message.rcode, 21);
        let (payload, _) = message.text(1000);
        let want =
            format!("id 7 BADALG\nA a.test\nadditional OPT version: 0, flags: do; udp: 1232; {shown}\n");
        assert_eq!(text(&payload), want);
    }
}

#[test]
fn names_can_be_read_back() {
    let data = b"\x05a.b c\x03\\@\"\x02\x00\xff\x00";
    assert_eq!(shown(2, 1, data), "NS a\\.b\\032c.\\\\\\@\\\".\\000\\255");
}
