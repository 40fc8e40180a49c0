// Writes the vectors beside it with another implementation, @storacha/blob-index:
//   npm install @storacha/blob-index@1.2.9 multiformats@13 && node make.mjs
import fs from 'node:fs'
import { ShardedDAGIndex } from '@storacha/blob-index'
import { CID } from 'multiformats/cid'
import { sha256, sha512 } from 'multiformats/hashes/sha2'
import { identity } from 'multiformats/hashes/identity'
import * as Digest from 'multiformats/hashes/digest'

const hash = async (text, hasher = sha256) => hasher.digest(new TextEncoder().encode(text))
const write = async (name, index) => {
  const { ok, error } = await index.archive()
  if (error) throw error
  fs.writeFileSync(new URL(`${name}.car`, import.meta.url), ok)
  const shards = []
  for (const [shard, slices] of index.shards.entries()) {
    for (const [slice, [offset, length]] of slices.entries()) shards.push([CID.createV1(0x55, shard).toString(), CID.createV1(0x55, slice).toString(), offset, length])
  }
  fs.writeFileSync(new URL(`${name}.json`, import.meta.url), JSON.stringify({ content: index.content.toString(), slices: shards }) + '\n')
}
const content = CID.createV1(0x70, await hash('root'))
await write('empty', ShardedDAGIndex.create(content))
const index = ShardedDAGIndex.create(content)
for (let s = 0; s < 3; s++) {
  const shard = await hash(`shard ${s}`)
  for (let i = 0; i < 30; i++) index.setSlice(shard, await hash(`slice ${s} ${i}`), [i * 1000 + 40, [0, 23, 24, 255, 256, 65535, 65536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1][i % 10]])
  index.setSlice(shard, shard, [0, 123456])
}
await write('three', index)
const mixed = ShardedDAGIndex.create(CID.createV0(await hash('old root')))
mixed.setSlice(await hash('a', sha512), await hash('b', sha512), [1, 2])
mixed.setSlice(await hash('a', sha512), identity.digest(new Uint8Array([1, 2, 3])), [3, 4])
mixed.setSlice(await hash('c'), Digest.create(0x1e, new Uint8Array(32).fill(7)), [5, 6])
await write('mixed', mixed)
