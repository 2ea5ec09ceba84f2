//! Batches of datagrams: each is seen whole, and apart from the others.

use std::{
    net::UdpSocket,
    os::fd::{AsRawFd as _, RawFd},
};

use capturer_ebpf::layout::{direction, flag, transport};

use super::{
    Capture,
    conversations::{self, Truth},
    frames::Dice,
    large::{Call, RING, checked, header, transfer, truth, vectors},
};

/// Longest datagram.
const ROOM: usize = 65_536;

/// A socket of a large receive buffer.
fn datagrams() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let bytes: libc::c_int = 32 << 20;
    let (at, len) = ((&raw const bytes).cast(), u32::try_from(size_of_val(&bytes)).unwrap());
    // SAFETY: the value lives through the call.
    let set =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, at, len) };
    assert_eq!(set, 0);
    socket
}

#[test]
fn every_datagram_of_a_batch_is_seen_whole() {
    for (many, buffers, largest) in [(1, 1, 65_000), (9, 3, 20_000), (300, 2, 3_000), (1_024, 3, 600)] {
        let (client, server) = (datagrams(), datagrams());
        client.connect(server.local_addr().unwrap()).unwrap();
        let Some(capture) = Capture::start(client.local_addr().unwrap().port(), RING) else { return };
        let text = |n: usize| (0..=n * 7919 % largest).map(|at| truth(at + n)).collect::<Vec<u8>>();
        let mut texts: Vec<Vec<u8>> = (0..many).map(text).collect();
        let sent = messages(client.as_raw_fd(), true, buffers, &mut texts);
        assert_eq!(sent.len(), many);
        let mut rooms = vec![vec![0; ROOM]; many];
        assert_eq!(messages(server.as_raw_fd(), false, buffers, &mut rooms), sent);
        let (seen, totals) = capture.finish();
        assert_eq!((totals.ring, totals.miss, totals.fault), (0, 0, 0), "{many} messages");
        for direction in [direction::OUT, direction::IN] {
            let of_direction = |index: &usize| {
                let head = &seen.moved[*index].0;
                head.direction == direction && head.connection.transport == transport::UDP
            };
            let seen_texts: Vec<Vec<u8>> = (0..seen.moved.len())
                .filter(of_direction)
                .map(|index| {
                    let runs = seen.runs(index);
                    runs.iter().fold(Vec::new(), |mut whole, (offset, bytes)| {
                        assert_eq!(whole.len(), *offset);
                        whole.extend_from_slice(bytes);
                        whole
                    })
                })
                .collect();
            assert!(seen_texts == texts, "{many} messages, direction {direction}");
        }
    }
}

/// Sends each text in a datagram of its own, all by calls of one kind.
fn send(socket: RawFd, call: Call, buffers: usize, texts: &mut [Vec<u8>]) {
    if let Call::Messages(many) = call {
        for batch in texts.chunks_mut(many) {
            assert_eq!(messages(socket, true, buffers, batch).len(), batch.len());
        }
        return;
    }
    for text in texts {
        let len = text.len();
        assert_eq!(transfer(socket, true, call, buffers, text), len);
    }
}

/// Receives so many datagrams by calls of one kind.
fn receive(socket: RawFd, call: Call, buffers: usize, count: usize) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let left = count - texts.len();
        if let Call::Messages(many) = call {
            let mut rooms = vec![vec![0; ROOM]; many.min(left)];
            let lengths = messages(socket, false, buffers, &mut rooms);
            texts.extend(rooms.into_iter().zip(lengths).map(|(room, len)| room[..len].to_vec()));
        } else {
            let mut room = vec![0; ROOM];
            let len = transfer(socket, false, call, buffers, &mut room);
            texts.push(room[..len].to_vec());
        }
    }
    texts
}

/// Moves a datagram for each text by one call, and returns the lengths of those that moved.
fn messages(socket: RawFd, outwards: bool, buffers: usize, texts: &mut [Vec<u8>]) -> Vec<usize> {
    let mut parts: Vec<Vec<libc::iovec>> = texts.iter_mut().map(|text| vectors(text, buffers)).collect();
    let mut headers: Vec<libc::mmsghdr> =
        parts.iter_mut().map(|part| libc::mmsghdr { msg_hdr: header(part), msg_len: 0 }).collect();
    let (at, count) = (headers.as_mut_ptr(), u32::try_from(headers.len()).unwrap());
    // SAFETY: headers, buffers and texts live through the call.
    let moved = unsafe {
        if outwards {
            libc::sendmmsg(socket, at, count, 0)
        } else {
            libc::recvmmsg(socket, at, count, libc::MSG_WAITFORONE as _, std::ptr::null_mut())
        }
    };
    headers.truncate(checked(moved as isize));
    headers.iter().map(|header| header.msg_len as usize).collect()
}

/// A socket that takes from anybody knows each sender by its address alone, whatever call receives.
#[test]
fn the_sender_of_each_datagram_is_known_whatever_call_receives() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let server = UdpSocket::bind(address).unwrap();
        let port = server.local_addr().unwrap().port();
        let Some(capture) = Capture::start(port, RING) else { return };
        let (near, to) =
            if address.starts_with("[::1") { ("[::1]:0", "::1") } else { ("127.0.0.1:0", "127.0.0.1") };
        let mut expected = Vec::new();
        for (call, buffers, room) in [
            (Call::Addressed, 1, 100),
            (Call::Message, 1, 100),
            (Call::Message, 40, 900),
            (Call::Messages(1), 3, 100),
            (Call::Message, 2, 11),
        ] {
            for _ in 0..3 {
                let client = UdpSocket::bind(near).unwrap();
                client.send_to(b"who is it?!", (to, port)).unwrap();
                let mut bytes = vec![0; room];
                assert_eq!(receive_from(server.as_raw_fd(), call, buffers, &mut bytes), 11);
                expected.push(client.local_addr().unwrap().port());
            }
        }
        let (seen, _) = capture.finish();
        let came = seen
            .moved
            .iter()
            .filter(|(head, _)| head.direction == direction::IN && head.connection.local_port == port);
        let ports: Vec<u16> = came.clone().map(|(head, _)| head.connection.remote_port).collect();
        assert_eq!(ports, expected, "{address}");
        assert!(came.clone().all(|(head, text)| head.flags & flag::CUT == 0 && text == b"who is it?!"));
        let family = if near.starts_with('[') { 6 } else { 4 };
        assert!(came.clone().all(|(head, _)| head.connection.family == family), "{address}");
    }
}

#[test]
fn a_datagram_that_is_cut_says_so() {
    let (client, server) = (datagrams(), datagrams());
    client.connect(server.local_addr().unwrap()).unwrap();
    let Some(capture) = Capture::start(server.local_addr().unwrap().port(), RING) else { return };
    for room in [7, 8] {
        client.send(b"eight by").unwrap();
        let mut bytes = vec![0; room];
        assert_eq!(receive_from(server.as_raw_fd(), Call::Message, 1, &mut bytes), room);
    }
    let (seen, _) = capture.finish();
    let came = seen.moved.iter().filter(|(head, _)| head.direction == direction::IN);
    let came: Vec<(u64, bool)> = came.map(|(head, _)| (head.moved, head.flags & flag::CUT != 0)).collect();
    assert_eq!(came, [(7, true), (8, false)]);
}

/// Receives by one call that asks who sent it.
fn receive_from(socket: RawFd, call: Call, buffers: usize, bytes: &mut [u8]) -> usize {
    let mut address = [0_u64; 16];
    let mut len = u32::try_from(size_of_val(&address)).unwrap();
    let (at, room) = (bytes.as_mut_ptr().cast(), bytes.len());
    let mut parts = vectors(bytes, buffers);
    let mut message = header(&mut parts);
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = len;
    // SAFETY: bytes, buffers, headers and addresses live through the calls.
    checked(unsafe {
        match call {
            Call::Message => libc::recvmsg(socket, &raw mut message, 0),
            Call::Messages(_) => {
                let mut headers = [libc::mmsghdr { msg_hdr: message, msg_len: 0 }];
                let flags = libc::MSG_WAITFORONE as _;
                let moved = libc::recvmmsg(socket, headers.as_mut_ptr(), 1, flags, std::ptr::null_mut());
                assert_eq!(moved, 1);
                headers[0].msg_len.try_into().unwrap()
            }
            Call::Plain | Call::Addressed | Call::Vectors => {
                libc::recvfrom(socket, at, room, 0, address.as_mut_ptr().cast(), &raw mut len)
            }
        }
    })
}

fn any_call(dice: &mut Dice) -> (Call, usize) {
    match dice.roll(5) {
        0 => (Call::Plain, 1),
        1 => (Call::Addressed, 1),
        2 => (Call::Vectors, 1 + dice.roll(60)),
        3 => (Call::Message, 1 + dice.roll(60)),
        _ => (Call::Messages(1 + dice.roll(400)), 1 + dice.roll(4)),
    }
}

#[test]
fn dns_in_datagrams_by_calls_of_any_kind() {
    for seed in [11, 12] {
        let mut dice = Dice(seed);
        let (client, server) = (datagrams(), datagrams());
        client.connect(server.local_addr().unwrap()).unwrap();
        server.connect(client.local_addr().unwrap()).unwrap();
        let port = server.local_addr().unwrap().port();
        let (mut truth, mut rounds) = (Truth::new(), Vec::new());
        for round in 0..12 {
            let mut texts = (Vec::new(), Vec::new());
            for _ in 0..=if round == 0 { 0 } else { dice.roll(400) } {
                let (words, query, response) = conversations::lookup(&mut dice, truth.len());
                truth.insert(words, (query.len() as u64, response.len() as u64));
                texts.0.push(query);
                texts.1.push(response);
            }
            rounds.push(texts);
        }
        let talk = move || {
            for (mut queries, mut responses) in rounds {
                for (from, to, texts) in
                    [(&client, &server, &mut queries), (&server, &client, &mut responses)]
                {
                    let ((call, buffers), (other, rooms)) = (any_call(&mut dice), any_call(&mut dice));
                    send(from.as_raw_fd(), call, buffers, texts);
                    assert!(receive(to.as_raw_fd(), other, rooms, texts.len()) == *texts);
                }
            }
        };
        conversations::check(&format!("dns over UDP, seed {seed}"), "dns", port, &truth, talk);
    }
}
