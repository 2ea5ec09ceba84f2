//! What other protocols over datagrams and streams say is no DNS.

use super::*;

const NBSTAT: u16 = 33;
const NB: u16 = 32;

/// Plays what both sides sent; nothing may come out of it, and nothing be counted as lost.
fn is_foreign(what: &str, port: u16, client: &[u8], server: &[u8]) {
    for at_other_port in [false, true] {
        for (first, second) in [(client, server), (client, &[][..]), (&[][..], server)] {
            let mut talk = Talk::new(Transport::Udp, if at_other_port { 40_001 } else { port });
            for _ in 0..3 {
                for (side, datagram) in [(Side::Client, first), (Side::Server, second)] {
                    if !datagram.is_empty() {
                        talk.raw(side, datagram);
                    }
                }
            }
            assert_eq!(talk.end(), [], "{what}");
        }
    }
}

/// Returns bytes that look random.
fn noise(count: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(7), next).map(|state| state.to_be_bytes()[0]).take(count).collect()
}

#[test]
fn encrypted_and_real_time_traffic_is_not_taken() {
    let quic = [&b"\xc3\x00\x00\x00\x01\x08"[..], &noise(1194)].concat();
    let short = [&b"\x43"[..], &noise(60)].concat();
    is_foreign("QUIC", 443, &quic, &short);
    let stun = [&b"\x00\x01\x00\x00\x21\x12\xa4\x42"[..], &noise(12)].concat();
    let reply = [
        &b"\x01\x01\x00\x0c\x21\x12\xa4\x42"[..],
        &noise(12),
        b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43",
    ];
    is_foreign("STUN", 3478, &stun, &reply.concat());
    let old_stun = [&b"\x00\x01\x00\x08"[..], &noise(16), b"\x00\x03\x00\x04\x00\x00\x00\x00"].concat();
    is_foreign("STUN before its mark", 3478, &old_stun, &[]);
    let hello =
        [&b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x5e\x01\x00\x00\x52"[..], &noise(82)].concat();
    let retry = b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x03\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x04\xfe\xff\x01\xaa";
    is_foreign("DTLS", 4433, &hello, retry);
    let rtp = [&b"\x80\x00\x00\x01\x00\x00\x00\xa0\x12\x34\x56\x78"[..], &noise(160)].concat();
    is_foreign("RTP", 5004, &rtp, &rtp);
    let wireguard = [&b"\x01\x00\x00\x00"[..], &noise(144)].concat();
    is_foreign("WireGuard", 51820, &wireguard, &[&b"\x02\x00\x00\x00"[..], &noise(88)].concat());
    is_foreign(
        "OpenVPN",
        1194,
        &[&b"\x38"[..], &noise(8), &[0; 5]].concat(),
        &[&b"\x40"[..], &noise(8), &[0; 5]].concat(),
    );
}

#[test]
fn network_services_are_not_taken() {
    let mut ntp = [&b"\x23\x00\x06\xec"[..], &[0; 44]].concat();
    is_foreign("NTP", 123, &ntp, &[&b"\x24\x02\x06\xec"[..], &noise(44)].concat());
    ntp[2] = 0;
    is_foreign("NTP of a small device", 123, &ntp, &[]);
    let snmp = b"0)\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x12\x34\x56\x78\x02\x01\x00\x02\x01\x000\x0e0\x0c\x06\x08+\x06\x01\x02\x01\x01\x01\x00\x05\x00";
    is_foreign("SNMP", 161, snmp, snmp);
    is_foreign("syslog", 514, b"<34>1 2024-01-01T00:00:00Z host su - ID47 - failed for lonvick", &[]);
    is_foreign(
        "SSDP",
        1900,
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\n\r\n",
        &[],
    );
    is_foreign(
        "BitTorrent",
        6881,
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
        b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
    );
    let dhcp =
        [&b"\x01\x01\x06\x00\x12\x34\x56\x78"[..], &[0; 228], b"\x63\x82\x53\x63\x35\x01\x01\xff"].concat();
    is_foreign("DHCP", 67, &dhcp, &[]);
    is_foreign(
        "RADIUS",
        1812,
        &[&b"\x01\x07\x00\x14"[..], &noise(16)].concat(),
        &[&b"\x02\x07\x00\x14"[..], &noise(16)].concat(),
    );
    is_foreign("TFTP", 69, b"\x00\x01file.txt\x00octet\x00", b"\x00\x03\x00\x01data");
    is_foreign("SIP", 5060, b"OPTIONS sip:a@example.com SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n");
    is_foreign("statsd", 8125, b"page.views:1|c\n", &[]);
    is_foreign(
        "memcached",
        11211,
        b"\x00\x01\x00\x00\x00\x01\x00\x00get a\r\n",
        b"\x00\x01\x00\x00\x00\x01\x00\x00END\r\n",
    );
    is_foreign("CoAP", 5683, b"\x40\x01\x12\x34\xbb.well-known\x04core", b"\x60\x45\x12\x34\xff<>");
}

#[test]
fn games_are_not_taken() {
    is_foreign(
        "Source",
        27015,
        b"\xff\xff\xff\xffTSource Engine Query\x00",
        b"\xff\xff\xff\xffI\x11name\x00map\x00",
    );
    is_foreign("Quake", 27960, b"\xff\xff\xff\xffgetstatus", b"\xff\xff\xff\xffstatusResponse\n\\a\\b");
    let ping = [
        &b"\x01"[..],
        &[0; 8],
        b"\x00\xff\xff\x00\xfe\xfe\xfe\xfe\xfd\xfd\xfd\xfd\x12\x34\x56\x78",
        &noise(8),
    ]
    .concat();
    is_foreign("Minecraft", 19132, &ping, &[&b"\x1c"[..], &noise(60)].concat());
    // Numbered packets that are mostly zero, as keep-alives are.
    for length in 1..80 {
        let mut packet = vec![0; length];
        is_foreign("zeros", 7777, &packet, &packet);
        packet[0] = 1;
        is_foreign("numbered zeros", 7777, &packet, &packet);
        is_foreign("ones", 7777, &vec![0xff; length], &vec![0xff; length]);
        is_foreign("noise", 7777, &noise(length), &noise(length));
    }
}

fn netbios(label: &str) -> Vec<u8> {
    label
        .bytes()
        .fold(vec![32], |bytes, letter| [bytes, vec![b'A' + (letter >> 4), b'A' + (letter & 15)]].concat())
}

fn netbios_question(label: &str, kind: u16) -> Vec<u8> {
    [netbios(label), vec![0], kind.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

#[test]
fn netbios_names_are_not_dns() {
    let any = "*\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let status = message(0x0d27, 0, &netbios_question(any, NBSTAT), [&[], &[], &[]]);
    let told = [&netbios(any)[..], &[0, 0, 33, 0, 1, 0, 0, 0, 0, 0, 3, 0, 1, 2]].concat();
    let reply = message(0x0d27, 0x8400, &[], [&[told], &[], &[]]);
    let lookup = message(9, 0x0110, &netbios_question("FILESERVER     \x20", NB), [&[], &[], &[]]);
    let registration = [&[0xc0, 12, 0, 32, 0, 1, 0, 0, 0, 0, 0, 6, 0, 0, 192, 0, 2, 7][..]].concat();
    let registration =
        message(9, 0x2910, &netbios_question("WORKGROUP      \0", NB), [&[], &[], &[registration]]);
    for (query, answer) in [(&status, &reply), (&lookup, &vec![]), (&registration, &vec![])] {
        is_foreign("NetBIOS", 137, query, answer);
    }
    // Nor at a port of DNS: the name tells.
    let mut talk = Talk::new(Transport::Udp, 53);
    talk.ask(&status);
    assert_eq!(talk.end(), []);
}

#[test]
fn llmnr_is_not_dns() {
    let query = message(0x1234, 0, &question("wpad", 1), [&[], &[], &[]]);
    let answer =
        message(0x1234, 0x8000, &question("wpad", 1), [&[record("wpad", 1, 1, &[192, 0, 2, 7])], &[], &[]]);
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut talk = Talk::new(transport, 5355);
        talk.ask(&query);
        talk.answer(&answer);
        assert_eq!(talk.end(), []);
    }
}

#[test]
fn multicast_dns_is_not_dns() {
    let service = question("_ipp._tcp.local", 12);
    let browse = message(0, 0, &service, [&[], &[], &[]]);
    let known = record("_ipp._tcp.local", 12, 1, &name("printer._ipp._tcp.local"));
    let answer = message(
        0,
        0x8400,
        &[],
        [std::slice::from_ref(&known), &[], &[record("printer.local", 1, 0x8001, &[192, 0, 2, 7])]],
    );
    let mut unicast = question("printer.local", 1);
    let class = unicast.len() - 2;
    unicast[class] = 0x80;
    for query in [
        browse,
        message(0, 0, &service, [&[known], &[], &[]]),
        message(0, 0, &unicast, [&[], &[], &[]]),
        message(0, 0, &[question("a.local", 1), question("a.local", 28)].concat(), [&[], &[], &[]]),
        // A program that knows nothing of multicast, and asks by it.
        message(77, 0x0100, &question("printer.local", 1), [&[], &[], &[]]),
        message(77, 0x0100, &service, [&[], &[], &[]]),
    ] {
        for both in [false, true] {
            let mut talk = Talk::new(Transport::Udp, 5353);
            talk.ask(&query);
            if both {
                talk.answer(&answer);
            }
            assert_eq!(talk.end(), []);
        }
    }
}

#[test]
fn dns_at_the_port_of_multicast_is_read() {
    for host in ["www.example.com", "shop.default.svc.cluster.local", "db.zone.test"] {
        let mut talk = Talk::new(Transport::Udp, 5353);
        talk.ask(&query(7, host, 1));
        talk.answer(&message(
            7,
            0x8180,
            &question(host, 1),
            [&[record(host, 1, 1, &[192, 0, 2, 7])], &[], &[]],
        ));
        let exchanges = talk.exchanges();
        assert_eq!((&*exchanges[0].operation, &*exchanges[0].status), (&*format!("A {host}"), "NOERROR"));
    }
}

#[test]
fn streams_of_others_are_not_taken() {
    let binary = [&[0, 0, 0, 30, 0, 1, 0, 0, 0, 0, 0, 0][..], &[0; 60]].concat();
    let kafka = [&[0, 0, 0, 25, 0, 18, 0, 3, 0, 0, 0, 1, 0, 8][..], b"consumer", &[0; 7]].concat();
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(200)].concat();
    for bytes in
        [&binary[..], &kafka, &tls, b"SSH-2.0-OpenSSH_9.2p1\r\n", b"\0\0\0\0", &[0; 300], &noise(300)]
    {
        for side in [Side::Client, Side::Server] {
            let mut talk = Talk::new(Transport::Tcp, 9092);
            talk.raw(side, bytes);
            let rows =
                talk.end().into_iter().filter(|outcome| matches!(outcome, Outcome::Exchange(_))).count();
            assert_eq!(rows, 0, "{}", bytes.escape_ascii());
        }
    }
}
