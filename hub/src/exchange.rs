//! What the hub does with an exchange on its way.

use std::sync::Arc;

use proto::v1;

use crate::store::row::cut;

/// Payload bytes that an exchange keeps in a buffer that is more than half full: what a viewer shows by default.
pub const CROWDED_PAYLOAD: usize = 1024;

/// Finds an exchange's place in a buffer of `limit` bytes of which `used` are taken, and returns it with the bytes it
/// takes. In the buffer's second half payloads are shortened, and marked: an exchange without its whole payload is
/// worth more than none. Absent when even that does not fit.
#[must_use]
pub fn fitting(
    exchange: &Arc<v1::Exchange>,
    used: usize,
    limit: usize,
) -> Option<(usize, Arc<v1::Exchange>)> {
    let bytes = memory(exchange);
    if used.saturating_add(bytes) <= limit / 2 {
        return Some((bytes, Arc::clone(exchange)));
    }
    let kept = within(exchange, CROWDED_PAYLOAD);
    let bytes = memory(&kept);
    (used.saturating_add(bytes) <= limit).then_some((bytes, kept))
}

/// An exchange whose payloads are no longer than that: itself, or a shortened copy.
#[must_use]
pub fn within(exchange: &Arc<v1::Exchange>, payload_bytes: usize) -> Arc<v1::Exchange> {
    let payload = |message: &Option<v1::Message>| message.as_ref().map_or(0, |message| message.payload.len());
    let is_long = payload(&exchange.request).max(payload(&exchange.response)) > payload_bytes;
    if is_long { Arc::new(shortened(exchange, payload_bytes)) } else { Arc::clone(exchange) }
}

/// Bytes that an exchange takes in memory, roughly: buffers are bounded by it.
#[must_use]
pub fn memory(exchange: &v1::Exchange) -> usize {
    /// What the allocator adds to the many small strings.
    const ALLOCATOR_OVERHEAD: usize = 256;
    /// What it adds to one of them.
    const NAME_OVERHEAD: usize = 16;
    let message = |message: &Option<v1::Message>| {
        message.as_ref().map_or(0, |message| {
            message.payload.capacity() + message.syscalls.capacity() * size_of::<v1::SyscallEvent>()
        })
    };
    let attributes: usize = exchange
        .attributes
        .iter()
        .map(|attribute| size_of::<v1::Attribute>() + attribute.name.capacity() + attribute.value.capacity())
        .sum();
    size_of::<v1::Exchange>()
        + ALLOCATOR_OVERHEAD
        + message(&exchange.request)
        + message(&exchange.response)
        + attributes
        + exchange.hops.capacity() * size_of::<v1::Hop>()
        + exchange.hops.iter().map(|hop| hop.name.capacity() + NAME_OVERHEAD).sum::<usize>()
        + exchange.operation.capacity()
        + exchange.target.capacity()
        + exchange.ways.as_ref().map_or(0, |ways| ways.node.capacity())
}

/// A copy whose payloads are shortened, and marked where they were.
#[must_use]
pub fn shortened(exchange: &v1::Exchange, payload_bytes: usize) -> v1::Exchange {
    let v1::Exchange {
        id,
        connection_id,
        start_ns,
        protocol,
        side,
        encryption,
        coordinate,
        origin,
        local,
        remote,
        operation,
        target,
        status,
        error,
        request,
        response,
        segments,
        hops,
        retransmits,
        sample_weight,
        attributes,
        clamped,
        handshake,
        announced,
        reason,
        connect_ns,
        zero_windows,
        place,
        ways,
    } = exchange;
    v1::Exchange {
        id: *id,
        connection_id: *connection_id,
        start_ns: *start_ns,
        protocol: protocol.clone(),
        side: *side,
        encryption: *encryption,
        coordinate: *coordinate,
        origin: origin.clone(),
        local: local.clone(),
        remote: remote.clone(),
        operation: operation.clone(),
        target: target.clone(),
        status: status.clone(),
        error: *error,
        request: request.as_ref().map(|message| shortened_message(message, payload_bytes)),
        response: response.as_ref().map(|message| shortened_message(message, payload_bytes)),
        segments: *segments,
        hops: hops.clone(),
        retransmits: *retransmits,
        sample_weight: *sample_weight,
        attributes: attributes.clone(),
        clamped: *clamped,
        handshake: *handshake,
        announced: announced.clone(),
        reason: *reason,
        connect_ns: *connect_ns,
        zero_windows: *zero_windows,
        place: *place,
        ways: ways.clone(),
    }
}

fn shortened_message(message: &v1::Message, payload_bytes: usize) -> v1::Message {
    let v1::Message { bytes, plain_bytes, payload, truncated, syscalls } = message;
    let head = cut(payload, payload_bytes);
    v1::Message {
        bytes: *bytes,
        plain_bytes: *plain_bytes,
        payload: head.to_vec(),
        truncated: *truncated || head.len() < payload.len(),
        syscalls: syscalls.clone(),
    }
}
