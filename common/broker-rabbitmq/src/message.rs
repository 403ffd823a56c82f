//! Messages as bytes and properties, and back.
//!
//! Ours carry the header `bul-message`; anything else is another program's submission. Tenant and
//! lane of those come from the routing key, which the server's permissions guard. Called by `publish` and `lane`.

use bul_broker::{Foreign, Parcel, Payload, Route, is_newer, read};
use bul_job::{Event, Lane};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// Marks our own messages; its value is the version of their form.
const MARK: &str = "bul-message";
/// How often the server has handed a message out before; absent on the first delivery.
const DELIVERY_COUNT: &str = "x-delivery-count";
const JSON: &str = "application/json";
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// Routing key, properties and bytes of what goes as one message, to one of so many partitions.
pub(crate) fn encode(parcel: &Parcel<'_>, partitions: u8) -> (ShortString, BasicProperties, Vec<u8>) {
    let mut headers = FieldTable::default();
    headers.insert(MARK.into(), AMQPValue::LongInt(parcel.form() as i32));
    let properties = BasicProperties::default()
        .with_content_type(JSON.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(parcel.name().into())
        .with_headers(headers);
    (parcel.route(partitions).to_string().into(), properties, parcel.body())
}

/// Routing key, properties and bytes of an event.
pub(crate) fn encode_event(
    event: &Event,
) -> Result<(ShortString, BasicProperties, Vec<u8>), serde_json::Error> {
    let properties = BasicProperties::default().with_content_type(JSON.into()).with_delivery_mode(TRANSIENT);
    Ok((event_key(event.tenant.as_str(), &event.job.to_string()), properties, serde_json::to_vec(event)?))
}

/// `<tenant>.<job>`; a tenant's name has no dot.
pub(crate) fn event_key(tenant: &str, job: &str) -> ShortString {
    format!("{tenant}.{job}").into()
}

/// What a delivery of a lane carries, and how often it was handed out, from 1.
pub(crate) fn decode(lane: Lane, delivery: Delivery) -> (Payload, u32) {
    let headers = delivery.properties.headers().as_ref();
    let before = headers.and_then(|headers| integer(headers.inner().get(DELIVERY_COUNT)?)).unwrap_or(0);
    let deliveries = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
    let (broken, newer) = match headers.and_then(|headers| headers.inner().get(MARK)) {
        None => (None, false),
        Some(mark) => {
            let form = integer(mark).and_then(|form| u32::try_from(form).ok());
            match ours(lane, form, &delivery) {
                Ok(payload) => return (payload, deliveries),
                Err(broken) => (Some(broken), form.is_some_and(is_newer)),
            }
        }
    };
    (Payload::Foreign(Foreign { newer, ..foreign(lane, delivery, broken) }), deliveries)
}

/// A message of ours, or why it is none.
fn ours(came_by: Lane, form: Option<u32>, delivery: &Delivery) -> Result<Payload, String> {
    let form = form.ok_or("its form is no number")?;
    let payload = read(form, &delivery.data)?;
    let Some((tenant, lane)) = payload.owner() else { return Ok(payload) };
    // Processes may publish to different numbers of partitions.
    let route = Route::parse(delivery.routing_key.as_str());
    let is_its_own = |route: Route| route.lane == lane && route.tenant == *tenant;
    if lane != came_by || !route.is_some_and(is_its_own) {
        return Err(format!("it is for {lane}.{tenant} and came by {}", delivery.routing_key));
    }
    Ok(payload)
}

fn foreign(lane: Lane, delivery: Delivery, broken: Option<String>) -> Foreign {
    let subject = delivery.routing_key.as_str().to_owned();
    let properties = &delivery.properties;
    let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    };
    Foreign {
        tenant: Route::parse(&subject).filter(|route| route.lane == lane).map(|route| route.tenant),
        lane,
        content_type: properties.content_type().as_ref().map(ToString::to_string),
        message_id: properties.message_id().as_ref().map(ToString::to_string),
        traceparent: header("traceparent"),
        subject,
        broken,
        newer: false,
        body: Bytes::from(delivery.data),
    }
}

/// Clients write small numbers in any width.
fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortInt(n) => Some(i64::from(*n)),
        AMQPValue::ShortUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongInt(n) => Some(i64::from(*n)),
        AMQPValue::LongUInt(n) => Some(i64::from(*n)),
        AMQPValue::LongLongInt(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bul_broker::{Message, parcels};
    use bul_job::{JobId, PublishNo};

    use super::*;

    fn encoded(message: &Message, partitions: u8) -> (ShortString, BasicProperties, Vec<u8>) {
        encode(&parcels([message], partitions, 16)[0], partitions)
    }

    fn message() -> Message {
        Message {
            job: JobId::new(),
            tenant: "acme".parse().unwrap(),
            lane: Lane::High,
            publish: PublishNo(3),
        }
    }

    fn delivery(key: &str, properties: BasicProperties, data: Vec<u8>) -> Delivery {
        let mut delivery = Delivery::mock(1, "bul.jobs".into(), key.into(), false, data);
        delivery.properties = properties;
        delivery
    }

    fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in entries {
            table.insert((*key).into(), value.clone());
        }
        table
    }

    #[test]
    fn our_messages_come_back_as_they_were() {
        let sent = message();
        for partitions in [1, 16] {
            let (key, properties, body) = encoded(&sent, partitions);
            let number = sent.partition(partitions).number();
            let expected = if number == 0 { "high.acme".into() } else { format!("high.acme.{number}") };
            assert_eq!(key.as_str(), expected);
            let (payload, deliveries) = decode(Lane::High, delivery(key.as_str(), properties, body));
            assert_eq!((payload.ready(), deliveries), (Some(&sent), 1));
        }
    }

    /// Older publishers and newer ones within the version are understood.
    #[test]
    fn a_message_of_version_1_is_read_with_and_without_what_is_added_later() {
        let frozen = include_bytes!("../../../tests/it/messages/v1/ready.json");
        let mut newer: serde_json::Value = serde_json::from_slice(frozen).unwrap();
        newer["tomorrow"] = serde_json::json!([1]);
        let marked = BasicProperties::default().with_headers(table(&[(MARK, AMQPValue::LongInt(1))]));
        for body in [frozen.to_vec(), serde_json::to_vec(&newer).unwrap()] {
            let (payload, _) = decode(Lane::High, delivery("high.acme", marked.clone(), body));
            let message = payload.ready().expect("one of ours");
            assert_eq!(
                (message.lane, message.publish, message.tenant.as_str()),
                (Lane::High, PublishNo(3), "acme")
            );
        }
        let sent: Message = serde_json::from_slice(frozen).unwrap();
        assert_eq!(encoded(&sent, 1).2, frozen.trim_ascii());
    }

    #[test]
    fn marked_messages_that_contradict_themselves_are_broken() {
        let (_, properties, body) = encoded(&message(), 1);
        let newer = properties.clone().with_headers(table(&[(MARK, AMQPValue::LongInt(3))]));
        let bundle = properties.clone().with_headers(table(&[(MARK, AMQPValue::LongInt(2))]));
        let several =
            br#"{"tenant":"acme","lane":"high","jobs":[["01890a5d-ac96-774b-bcce-b302099a8057",1]]}"#;
        for (lane, key, properties, body) in [
            (Lane::High, "high.globex", &properties, body.clone()),
            (Lane::High, "high.globex.3", &properties, body.clone()),
            (Lane::High, "high.acme.0", &properties, body.clone()),
            (Lane::Low, "low.acme", &properties, body.clone()),
            (Lane::High, "high.acme", &properties, b"{}".to_vec()),
            (Lane::High, "high.acme", &newer, body.clone()),
            (Lane::High, "high.acme", &bundle, body.clone()),
            (Lane::High, "high.globex", &bundle, several.to_vec()),
        ] {
            let (payload, _) = decode(lane, delivery(key, properties.clone(), body));
            let Payload::Foreign(foreign) = payload else { panic!("{key} was taken for ours") };
            assert!(foreign.broken.is_some(), "{foreign:?}");
            assert_eq!(foreign.newer, *properties == newer, "{foreign:?}");
        }
    }

    #[test]
    fn other_programs_say_who_they_are_by_the_routing_key() {
        let headers = table(&[
            ("traceparent", AMQPValue::LongString("00-aa-bb-01".into())),
            (DELIVERY_COUNT, AMQPValue::LongLongInt(4)),
        ]);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id("order-7".into())
            .with_content_type("application/cloudevents+json".into());
        let (payload, deliveries) = decode(Lane::Low, delivery("low.acme", properties, b"{".to_vec()));
        let Payload::Foreign(foreign) = payload else { panic!("not ours") };
        assert_eq!((foreign.tenant.as_ref().map(|t| t.as_str()), deliveries), (Some("acme"), 5));
        assert_eq!((foreign.message_id.as_deref(), foreign.broken.as_deref()), (Some("order-7"), None));
        assert_eq!(foreign.traceparent.as_deref(), Some("00-aa-bb-01"));
        let unnamed = decode(Lane::Low, delivery("low.", BasicProperties::default(), vec![])).0;
        assert!(matches!(unnamed, Payload::Foreign(Foreign { tenant: None, .. })));
    }
}
