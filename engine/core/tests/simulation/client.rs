//! A client that sends batches, repeats what was not answered, pauses and cancels; and its orders.

use std::sync::Arc;

use fulgurite_core::{
    BatchId, FeePolicy, Msat, Order, PaymentHash, PaymentId, Preimage, UnixMs, batch,
    order::{Accepted, BatchOptions, Priority, RefusedRow, RowReason},
};

use super::{
    engine::Reply,
    random::Random,
    sim_node::{Entry, Status},
    world::{BEGIN, Happening, World},
};

/// What the recipient knows of an order.
#[derive(Clone, Copy, Debug)]
pub struct Invoice {
    pub preimage: Preimage,
    pub amount: Msat,
    pub invoice_expiry: UnixMs,
    /// Somebody else pays it.
    pub foreign: bool,
}

#[derive(Debug)]
pub struct Client {
    invoices: Vec<(PaymentHash, Invoice)>,
    pub plans: Vec<Plan>,
    uploads: u128,
}

/// One batch that the client wants.
#[derive(Debug)]
pub struct Plan {
    pub key: Arc<str>,
    hashes: Vec<PaymentHash>,
    options: BatchOptions,
    /// The engine's answer.
    pub accepted: Option<BatchId>,
    upload: Option<Upload>,
}

/// An upload that runs: at which engine, as which batch, how many rows are there.
#[derive(Clone, Copy, Debug)]
struct Upload {
    life: u32,
    batch: BatchId,
    rows: usize,
}

impl Client {
    pub fn new(random: &mut Random) -> Client {
        let mut client = Client { invoices: Vec::new(), plans: Vec::new(), uploads: 0 };
        for number in 0..random.between(1, 3) {
            let count = random.between(1, 6);
            let hashes = (0..count).map(|_| client.invoice(random)).collect();
            let options = options(random);
            let key = format!("key-{number}").into();
            client.plans.push(Plan { key, hashes, options, accepted: None, upload: None });
        }
        client
    }

    /// A new invoice, or sometimes one that is ordered already.
    fn invoice(&mut self, random: &mut Random) -> PaymentHash {
        if !self.invoices.is_empty() && random.percent(15) {
            return self.invoices[random.index(self.invoices.len())].0;
        }
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&(self.invoices.len() as u64).to_be_bytes());
        let preimage = Preimage(bytes);
        let life_ms = if random.percent(25) { random.between(16_000, 60_000) } else { 3_600_000 };
        let amount = if random.percent(10) { 50_000 } else { random.between(1, 5_000) };
        let invoice = Invoice {
            preimage,
            amount: Msat::from_sat_clamped(amount.unsigned_abs()),
            invoice_expiry: UnixMs(BEGIN + life_ms),
            foreign: random.percent(2),
        };
        self.invoices.push((preimage.payment_hash(), invoice));
        preimage.payment_hash()
    }

    pub fn order(&self, hash: PaymentHash) -> Invoice {
        let found = self.invoices.iter().find(|(known, _)| *known == hash);
        found.expect("only ordered hashes are sent").1
    }

    pub fn foreign(&self) -> impl Iterator<Item = PaymentHash> + '_ {
        self.invoices.iter().filter(|(_, invoice)| invoice.foreign).map(|(hash, _)| *hash)
    }
}

impl World {
    /// The client does one thing, then another some time later.
    pub fn client_acts(&mut self) {
        let ms = self.random.between(20, if self.calm { 1_000 } else { 2_500 });
        self.after(ms, Happening::Client);
        for hash in self.client.foreign().collect::<Vec<_>>() {
            for node in &mut self.nodes {
                let created = UnixMs(BEGIN + node.offset_ms - 600_000);
                let invoice = self.client.invoices.iter().find(|(known, _)| *known == hash);
                let (_, invoice) = invoice.expect("its own invoice");
                let status = Status::Succeeded(invoice.preimage);
                let amount = invoice.amount;
                let entry = Entry { status, attempt: None, created, amount, run: 0 };
                node.books.entry(hash).or_insert(entry);
            }
        }
        let open: Vec<usize> = (0..self.client.plans.len())
            .filter(|plan| self.client.plans[*plan].accepted.is_none())
            .collect();
        if !open.is_empty() && (self.calm || self.random.percent(60)) {
            let plan = open[self.random.index(open.len())];
            self.upload(plan);
        } else {
            self.request();
        }
    }

    /// One more chunk of an upload, or its seal.
    fn upload(&mut self, at: usize) {
        let (life, now) = (self.life, self.now());
        let Some(engine) = &mut self.engine else {
            return;
        };
        let plan = &mut self.client.plans[at];
        if let Some(batch) = engine.batch_by_key(&plan.key) {
            self.coverage.saw("a key was repeated");
            engine.reply(Reply::Accepted { key: Arc::clone(&plan.key), batch });
            return;
        }
        if plan.upload.is_some_and(|upload| upload.life != life) {
            self.coverage.saw("an upload was lost with its engine");
        }
        let running = plan.upload.filter(|upload| upload.life == life);
        let mut upload = running.unwrap_or_else(|| {
            self.client.uploads += 1;
            let batch = BatchId::from_uuid(self.client.uploads << 20);
            Upload { life, batch, rows: 0 }
        });
        let orders = plan.orders(&self.client.invoices);
        if upload.rows > 0 && self.random.percent(10) && !self.calm {
            self.coverage.saw("an upload was dropped");
            let batch = upload.batch;
            fulgurite_core::port::Journal::append(
                &*engine.disk,
                fulgurite_core::Event::UploadDropped { batch },
            );
            plan.upload = None;
            return;
        }
        if upload.rows < orders.len() {
            let chunk: Vec<_> = orders.into_iter().skip(upload.rows).take(3).collect();
            upload.rows += chunk.len();
            let fresh =
                chunk.into_iter().filter(|(_, order)| engine.owner(order.payment_hash).is_none());
            engine.add_orders(upload.batch, fresh.collect());
            plan.upload = Some(upload);
            return;
        }
        let (accepted, rows) = plan.sealed(upload.batch, orders, now, |hash| engine.owner(hash));
        if !accepted.refused.is_empty() {
            self.coverage.saw("a duplicate was refused");
        }
        // A hash that was claimed while the rows came: send all again.
        // The same rows, not as many: one claim may have gone while another came.
        let uploaded = engine.uploaded(upload.batch);
        if rows.iter().map(|(row, _)| *row).eq(uploaded) {
            engine.seal(accepted, &rows, now);
        } else {
            plan.upload = None;
        }
    }

    /// Pauses, resumes or cancels some batch.
    fn request(&mut self) {
        let now = self.now();
        let accepted: Vec<BatchId> =
            self.client.plans.iter().filter_map(|plan| plan.accepted).collect();
        let Some(engine) = &mut self.engine else {
            return;
        };
        if accepted.is_empty() {
            return;
        }
        let batch = accepted[self.random.index(accepted.len())];
        let input = match if self.calm { 0 } else { self.random.between(0, 11) } {
            0..6 => batch::Input::Resume,
            6..11 => batch::Input::Pause,
            _ => batch::Input::Cancel,
        };
        self.coverage.saw(match input {
            batch::Input::Pause => "asked to pause",
            batch::Input::Resume => "asked to resume",
            batch::Input::Cancel => "asked to cancel",
        });
        engine.request(batch, input, now);
    }

    pub fn client_hears(&mut self, reply: Reply) {
        let Reply::Accepted { key, batch } = reply;
        if !self.calm && self.random.percent(20) {
            self.coverage.saw("an answer was lost");
            return;
        }
        let plan = self.client.plans.iter_mut().find(|plan| plan.key == key);
        let plan = plan.expect("an answer to a plan");
        assert!(plan.accepted.is_none_or(|known| known == batch), "one batch per key");
        plan.accepted = Some(batch);
    }
}

impl Plan {
    fn orders(&self, invoices: &[(PaymentHash, Invoice)]) -> Vec<(u32, Arc<Order>)> {
        let order = |hash: &PaymentHash| {
            let found = invoices.iter().find(|(known, _)| known == hash);
            let (_, invoice) = found.expect("its own invoice");
            Arc::new(Order {
                invoice: "lnbcrt1".into(),
                payment_hash: *hash,
                payee: Some([hash.0[0] % 2; 33]),
                amount: invoice.amount,
                amount_in_send: false,
                fee_limit: Msat::from_sat_clamped(10),
                invoice_expiry: invoice.invoice_expiry,
                deadline: None,
                reference: None,
            })
        };
        let mut rows: Vec<(u32, Arc<Order>)> = Vec::new();
        for (row, order) in (1..).zip(self.hashes.iter().map(order)) {
            if !rows.iter().any(|(_, other)| other.payment_hash == order.payment_hash) {
                rows.push((row, order));
            }
        }
        rows
    }

    /// What is accepted, and the accepted rows: hashes that another payment owns are refused.
    fn sealed(
        &self,
        batch: BatchId,
        orders: Vec<(u32, Arc<Order>)>,
        now: UnixMs,
        owner: impl Fn(PaymentHash) -> Option<PaymentId>,
    ) -> (Accepted, Vec<(u32, Arc<Order>)>) {
        let refuse = |row: u32, payment| RefusedRow {
            row,
            reference: None,
            reason: RowReason::HashClaimed,
            message: "".into(),
            field: "bolt11",
            payment,
            other_row: None,
        };
        let mut refused = Vec::new();
        let mut rows = Vec::new();
        for (row, order) in orders {
            match owner(order.payment_hash) {
                Some(payment) => refused.push(refuse(row, Some(payment))),
                None => rows.push((row, order)),
            }
        }
        let order_count = u32::try_from(rows.len() + refused.len()).expect("few rows");
        let accepted = Accepted {
            batch,
            account: "default".into(),
            idempotency_key: Arc::clone(&self.key),
            fingerprint: [0; 32],
            content_digest: "".into(),
            single: false,
            options: self.options.clone(),
            description: None,
            metadata: Vec::new(),
            order_count,
            refused,
            amount: Msat::ZERO,
            fee_limit: Msat::ZERO,
            time: now,
        };
        (accepted, rows)
    }
}

fn options(random: &mut Random) -> BatchOptions {
    BatchOptions {
        start_paused: random.percent(10),
        accept_valid: true,
        priority: Priority::Normal,
        in_flight_max: if random.percent(30) { 1 } else { 8 },
        payments_per_second_max: if random.percent(30) { 5 } else { 0 },
        per_destination_in_flight_max: if random.percent(30) { 1 } else { 0 },
        failed_count_max: if random.percent(20) { 1 } else { 0 },
        failed_percent_max: 0,
        fee_policy: FeePolicy { base: Msat::ZERO, proportional_ppm: 0 },
        deadline: random.percent(20).then(|| UnixMs(BEGIN + random.between(10_000, 80_000))),
        attempts_max: if random.percent(20) { 1 } else { 4 },
        cltv_limit_blocks: 1_008,
    }
}
