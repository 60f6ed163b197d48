"""Facts in, verdict out. No coroutine, no socket, no clock: whoever calls in here brings the time and the bytes.

The rooms, in the order a call meets them:

    policy      the nouns of the YAML, frozen
    parse       YAML text -> Policy, or every mistake with file, line, column and cure; below it, in this order:
                yamlmarks (text -> tree with places), interpolation, fileforms, forms and checking (shape), catalogue,
                services, endpoints, limits, keys, clienttokens (meaning); spellings and formtypes (single values),
                learning (limits that nobody names), ground and mistakes
                (where, what), sources (what it may ask of the world), schema (the forms for editors), periods (when a
                calendar day or month ends)
    match       host, method, path -> service and endpoint
    meters/     what a call costs: an estimate before it goes, the true usage after
    encodings/  the tokenizer vocabularies (data)
    plan        the one door: plan(facts, policy) -> Plan;  learn(plan, reply) -> Lesson
    dialects/   rate-limit headers and error bodies of the providers -> one form
    evidence    what headers say about limits -> what the gate must know of its buckets
    errorbodies the codes and waits in an error body;  times: every way to write a wait -> milliseconds
    backoff     what repeated failure means
    keystates   what an operator is told of a pool's keys
    pricing     what calls cost in money;  pricetable: the prices that are shipped
    settling    what a finished call is charged
    verdict     Plan, Grant, Refuse, Lesson: values that print their reason
    gate/       the algorithm, in Lua, and the host that runs it in this process

`proxy` may import anything here; nothing here imports `proxy` or `certs`, or anything that does I/O
(import-linter holds both, see pyproject.toml).
"""
