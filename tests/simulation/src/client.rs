//! A client that sends batches and repeats what was not answered.

use std::sync::Arc;

use fulgurite_core::{BatchId, Event, Msat, PaymentHash, Preimage, UnixMs, port::Journal};

use crate::{
    engine::Reply,
    fault::{Fault, Faults},
    plan::{Answer, Invoice, Plan, Upload},
    random::Random,
    rule::{broken, rule},
    sim_node::{Entry, Status},
    world::{BEGIN, Happening, World},
};

#[derive(Debug)]
pub struct Client {
    invoices: Vec<Invoice>,
    pub plans: Vec<Plan>,
    uploads: u128,
}

impl Client {
    pub fn new(random: &mut Random, faults: &mut Faults, rows_max: Option<usize>) -> Client {
        let mut client = Client { invoices: Vec::new(), plans: Vec::new(), uploads: 0 };
        for number in 0..random.between(1, 3) {
            let count = random.between(1, 6);
            let hashes = (0..count).map(|_| client.order(random, faults));
            let mut hashes: Vec<PaymentHash> = hashes.collect();
            hashes.truncate(rows_max.unwrap_or(hashes.len()));
            let key: Arc<str> = format!("key-{number}").into();
            client.plan(Arc::clone(&key), hashes.clone(), random);
            if faults.strikes(Fault::OtherKey, 0) {
                client.plan(format!("other-{number}").into(), hashes, random);
            }
            if faults.strikes(Fault::OtherBody, 0) {
                let hashes = vec![client.order(random, faults)];
                client.plan(key, hashes, random);
            }
        }
        client
    }

    fn plan(&mut self, key: Arc<str>, hashes: Vec<PaymentHash>, random: &mut Random) {
        let number = u8::try_from(self.plans.len()).expect("few plans");
        self.plans.push(Plan::new(key, number, hashes, random));
    }

    /// A new invoice, or sometimes one that is ordered already.
    fn order(&mut self, random: &mut Random, faults: &mut Faults) -> PaymentHash {
        if !self.invoices.is_empty() && random.percent(15) {
            return self.invoices[random.index(self.invoices.len())].hash;
        }
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&(self.invoices.len() as u64).to_be_bytes());
        let preimage = Preimage(bytes);
        let life_ms = if random.percent(50) { random.between(8_000, 32_000) } else { 3_600_000 };
        let amount = if random.percent(10) { 50_000 } else { random.between(1, 5_000) };
        let hash = preimage.payment_hash();
        self.invoices.push(Invoice {
            hash,
            preimage,
            amount: Msat::from_sat_clamped(amount.unsigned_abs()),
            invoice_expiry: UnixMs(BEGIN + life_ms),
            foreign: faults.strikes(Fault::PaidByOthers, 0),
        });
        hash
    }

    pub fn invoice(&self, hash: PaymentHash) -> Invoice {
        let found = self.invoices.iter().find(|invoice| invoice.hash == hash);
        *found.expect("only ordered hashes are sent")
    }
}

impl World {
    /// The client does one thing, then another some time later.
    pub fn client_acts(&mut self) {
        let ms = self.random.between(20, if self.faults.calm { 1_000 } else { 2_500 });
        self.after(ms, Happening::Client);
        self.others_pay();
        if self.is_copy() {
            return;
        }
        let plans = &self.client.plans;
        let open: Vec<usize> = (0..plans.len()).filter(|at| plans[*at].answer.is_none()).collect();
        let answered: Vec<usize> = (0..plans.len()).filter(|at| !open.contains(at)).collect();
        if !answered.is_empty() && self.strikes(Fault::KeyRepeated) {
            let at = self.random.index(answered.len());
            self.upload(answered[at]);
        }
        if !open.is_empty() && (self.faults.calm || self.random.percent(60)) {
            let at = self.random.index(open.len());
            self.upload(open[at]);
        } else {
            self.operator_acts();
        }
    }

    /// Invoices that somebody else has paid are paid at all nodes.
    fn others_pay(&mut self) {
        for invoice in self.client.invoices.iter().filter(|invoice| invoice.foreign) {
            for node in &mut self.nodes {
                let entry = Entry {
                    status: Status::Succeeded(invoice.preimage),
                    attempt: None,
                    created: UnixMs(BEGIN + node.offset_ms - 600_000),
                    began: BEGIN - 600_000,
                    amount: invoice.amount,
                    fee: Msat::from_sat_clamped(1),
                    run: 0,
                    allowed: Vec::new(),
                    channel: 0,
                    lost: false,
                };
                node.books.entry(invoice.hash).or_insert(entry);
            }
        }
    }

    /// One more chunk of an upload, or its seal.
    fn upload(&mut self, at: usize) {
        let (life, now) = (self.life, self.now());
        let Some(engine) = &mut self.engine else {
            return;
        };
        let plan = &mut self.client.plans[at];
        if let Some(accepted) = engine.accepted_by_key(&plan.key) {
            // Rules I1 and I5: the same answer, or a refusal.
            let (key, fingerprint) = (Arc::clone(&plan.key), plan.fingerprint);
            let same = accepted.fingerprint == fingerprint;
            let answer = if same { Answer::Accepted(accepted) } else { Answer::KeyReused };
            engine.reply(Reply { key, fingerprint, answer });
            self.saw(if same {
                "a key was repeated and answered as before"
            } else {
                "a key was refused for another body"
            });
            return;
        }
        let lost = plan.upload.take_if(|upload| upload.life != life).is_some();
        let mut upload = plan.upload.unwrap_or_else(|| {
            self.client.uploads += 1;
            let batch = BatchId::from_uuid(self.client.uploads << 20);
            Upload { life, batch, rows: 0 }
        });
        if lost {
            self.saw("an upload was lost with its engine");
        }
        if upload.rows > 0 && self.strikes(Fault::UploadDropped) {
            let batch = upload.batch;
            self.disk.append(Event::UploadDropped { batch });
            self.client.plans[at].upload = None;
            return;
        }
        let orders = self.client.plans[at].orders(|hash| self.client.invoice(hash));
        let Some(engine) = &mut self.engine else {
            return;
        };
        if upload.rows < orders.len() {
            let chunk: Vec<_> = orders.into_iter().skip(upload.rows).take(3).collect();
            upload.rows += chunk.len();
            let fresh =
                chunk.into_iter().filter(|(_, order)| engine.owner(order.payment_hash).is_none());
            engine.add_orders(upload.batch, fresh.collect());
            self.client.plans[at].upload = Some(upload);
            return;
        }
        self.client.plans[at].upload = None;
        let plan = &self.client.plans[at];
        let (accepted, rows) = plan.sealed(upload.batch, orders, now, |hash| engine.owner(hash));
        let duplicates = !accepted.refused.is_empty();
        // A hash that was claimed while the rows came: send all again. The same rows, not as many:
        // one claim may have gone while another came.
        let uploaded = engine.uploaded(upload.batch);
        if rows.iter().map(|(row, _)| *row).eq(uploaded) {
            engine.seal(accepted, &rows, now);
        }
        if duplicates {
            self.saw("a duplicate was refused");
        }
    }

    /// An answer reaches the client. What it rests on must be on disk, and it must be the answer
    /// that was given before.
    pub fn client_hears(&mut self, reply: Reply) {
        if let Answer::Accepted(accepted) = &reply.answer {
            let same = accepted.fingerprint == reply.fingerprint;
            rule!(same, "{} is answered as another request", accepted.batch);
            let batch = self.visible.batches.get(&accepted.batch);
            let batch = batch.unwrap_or_else(|| {
                broken!("{} was acknowledged and is not on disk", accepted.batch)
            });
            let same = batch.summary.accepted == *accepted;
            rule!(same, "{}: the answer is not what is on disk", accepted.batch);
            for owner in accepted.refused.iter().filter_map(|refused| refused.payment) {
                let known = self.visible.batches.get(&owner.batch());
                let known = known.is_some_and(|batch| batch.payment(owner).is_some());
                rule!(known, "a refusal rests on {owner}, which is not on disk");
            }
        }
        if self.strikes(Fault::AnswerLost) {
            return;
        }
        let plans = &mut self.client.plans;
        let plan = plans
            .iter_mut()
            .find(|plan| plan.key == reply.key && plan.fingerprint == reply.fingerprint);
        let plan = plan.expect("an answer to a plan");
        let before = plan.answer.get_or_insert_with(|| reply.answer.clone());
        rule!(*before == reply.answer, "{}: same key, another answer", reply.key);
    }
}
